//! Certificates for tests, made by the `openssl` command: an authority, and what it signs.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// An authority of its own. Dropping it removes its files.
#[derive(Debug)]
pub struct Authority {
    dir: TempDir,
}

/// Files of a certificate and its key, PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Authority {
    /// Makes an authority that nobody trusts yet.
    ///
    /// # Panics
    /// There is no `openssl`.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        open_to_all(dir.path(), 0o755);
        let subject = ["-x509", "-subj", "/CN=Authority of a test"];
        let usage = ["-addext", "keyUsage=critical,keyCertSign"];
        make(dir.path(), "ca", &[&subject[..], &usage].concat());
        Self { dir }
    }

    /// Its own certificate, to be trusted.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Signs a certificate for 127.0.0.1 and `localhost`, for servers and clients alike.
    ///
    /// # Panics
    /// `openssl` refuses.
    #[must_use]
    pub fn issue(&self, name: &str) -> Identity {
        let dir = self.dir.path();
        let file = |name: &str| dir.join(name).display().to_string();
        let subject = format!("/CN={name}");
        let (ca, ca_key) = (file("ca.pem"), file("ca.key"));
        make(
            dir,
            name,
            &[
                "-x509",
                "-CA",
                &ca,
                "-CAkey",
                &ca_key,
                "-subj",
                &subject,
                "-addext",
                "subjectAltName=IP:127.0.0.1,DNS:localhost",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ],
        );
        let [certificate, key] = ["pem", "key"].map(|end| dir.join(format!("{name}.{end}")));
        Identity { certificate, key }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn make(dir: &Path, name: &str, more: &[&str]) {
    let output = Command::new("openssl")
        .args(["req", "-new", "-nodes", "-days", "2", "-newkey", "ec"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-out"])
        .arg(dir.join(format!("{name}.pem")))
        .arg("-keyout")
        .arg(dir.join(format!("{name}.key")))
        .args(more)
        .output()
        .expect("openssl runs: tests/setup.sh installs it");
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    // Servers that give up being root read them too.
    open_to_all(&dir.join(format!("{name}.key")), 0o644);
}

fn open_to_all(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, mode).expect("the test owns its files");
}
