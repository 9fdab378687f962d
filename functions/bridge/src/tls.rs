//! TLS to the broker, from PEM files.
//!
//! Never: the content of a file in an error.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, ClientConfig, RootCertStore};

/// How a broker is known, and how the bridge shows who it is. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

/// Why there can be no TLS. Each names the setting to correct.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authorities cannot be used.
    #[error(
        "broker_ca {place}: {reason}; name a PEM file with the authority that signed the broker's certificate"
    )]
    Authority {
        /// The file, or the system's store.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The bridge's own certificate cannot be used.
    #[error(
        "broker_cert {certificate}, broker_key {key}: {reason}; name two PEM files that belong together"
    )]
    Identity {
        /// File of the certificate.
        certificate: String,
        /// File of the key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// One of the two is missing.
    #[error("broker_cert and broker_key go together: set both, or neither")]
    HalfIdentity,
}

impl Tls {
    /// Reads what to trust (the system's authorities if there is no file) and, if the broker asks for
    /// one, the certificate with its key.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn load(
        authority: Option<&Path>,
        certificate: Option<&Path>,
        key: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let roots = match authority {
            Some(path) => roots(path)?,
            None => system_roots()?,
        };
        // Named, since another crate of the process may have chosen another one for all.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has every cipher suite of these versions")
            .with_root_certificates(roots);
        let config = match (certificate, key) {
            (None, None) => config.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let fault = |reason: String| TlsError::Identity {
                    certificate: certificate.display().to_string(),
                    key: key.display().to_string(),
                    reason,
                };
                let chain = certificates(certificate).map_err(fault)?;
                let secret = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| fault(format!("read the key: {error}")))?;
                let config = config.with_client_auth_cert(chain, secret);
                config.map_err(|error| fault(error.to_string()))?
            }
            _ => return Err(TlsError::HalfIdentity),
        };
        Ok(Self(Arc::new(config)))
    }

    pub(crate) fn transport(&self) -> rumqttc::Transport {
        rumqttc::Transport::tls_with_config(rumqttc::TlsConfiguration::Rustls(self.0.clone()))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("read the certificate: {error}"))?;
    if found.is_empty() {
        return Err("the file has no certificate".to_owned());
    }
    Ok(found)
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let fault = |reason| TlsError::Authority { place: path.display().to_string(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path).map_err(fault)? {
        roots.add(certificate).map_err(|error| fault(error.to_string()))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // Some of a system's certificates may be of kinds that are not understood.
    let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let (place, reason) = ("is not set".to_owned(), "the system trusts nobody".to_owned());
        return Err(TlsError::Authority { place, reason });
    }
    Ok(roots)
}

/// Why the broker is not who it should be, if that is what the error says, with what to do.
pub(crate) fn mistrust(error: &rumqttc::TlsError) -> Option<String> {
    let rumqttc::TlsError::Io(error) = error else { return None };
    let rustls::Error::InvalidCertificate(fault) = error.get_ref()?.downcast_ref()? else {
        return None;
    };
    let advice = match fault {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "set broker_ca to the authority that signed it"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "name the broker in its URL as its certificate does"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "give the broker a new one"
        }
        _ => "give the broker a certificate that clients can check",
    };
    Some(format!("{fault}: {advice}"))
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Tls {}
