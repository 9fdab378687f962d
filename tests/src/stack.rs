//! NATS, Redis and Mosquitto as plain processes on free loopback ports, for live tests and `make up`.
//!
//! A part keeps its port and its data over a restart, so that clients find it again. Dropping it kills
//! it; the system kills it too when the thread that started it ends in any other way.
//!
//! Never: a fixed port; in a test, a sleep. What is waited for is a line of output or its end.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::server::build_folder;

/// How often another free port is tried, if somebody else was quicker.
const TRIES: usize = 5;

/// What can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// NATS with JetStream.
    Nats,
    /// Redis that keeps every write.
    Redis,
    /// Redis as a cluster of one node, which owns every slot.
    RedisCluster,
    /// A sentinel, which watches what its configuration names.
    Sentinel,
    /// Mosquitto that lets everybody in.
    Mosquitto,
}

impl Kind {
    /// What it prints when it can be used.
    fn ready(self) -> &'static str {
        match self {
            Self::Nats => "Server is ready",
            Self::Redis | Self::RedisCluster => "Ready to accept connections",
            Self::Sentinel => "+monitor master",
            Self::Mosquitto => " running",
        }
    }

    /// The scheme of its address.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Redis => "redis",
            Self::RedisCluster => "redis+cluster",
            Self::Sentinel => "redis+sentinel",
            Self::Mosquitto => "mqtt",
        }
    }

    fn command(self, port: u16, dir: &Path, more: &[String]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(self.program());
        command.args(self.words(port, dir, more)).stdin(Stdio::null());
        command
    }

    fn words(self, port: u16, dir: &Path, more: &[String]) -> Vec<String> {
        let port_word = port.to_string();
        let dir_word = dir.display().to_string();
        let own: Vec<&str> = match self {
            Self::Nats => vec!["-a", "127.0.0.1", "-p", &port_word, "-js", "-sd", &dir_word],
            Self::Redis | Self::RedisCluster => {
                let mut own = vec!["--port", &port_word, "--bind", "127.0.0.1", "--dir", &dir_word];
                own.extend(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
                if self == Self::RedisCluster {
                    own.extend(["--cluster-enabled", "yes"]);
                }
                own
            }
            Self::Sentinel => vec![],
            Self::Mosquitto => vec!["-v"],
        };
        let mut words: Vec<String> = own.into_iter().map(str::to_owned).collect();
        if self == Self::Nats && !more.iter().any(|word| word == "-c") {
            // Streams reserve their room when they are made, and a test fills none of them.
            let file = dir.join("nats.conf");
            fs::write(&file, "jetstream { max_file_store: 1TB }\n")
                .expect("a temporary folder can be written");
            words.extend(["-c".into(), file.display().to_string()]);
        }
        if matches!(self, Self::Mosquitto | Self::Sentinel) {
            let file = self.configure(port, dir, more);
            match self {
                Self::Mosquitto => words.extend(["-c".into(), file]),
                _ => words.extend([file, "--sentinel".into()]),
            }
            return words;
        }
        words.extend(more.iter().map(|word| word.replace("{port}", &port_word)));
        words
    }

    /// Writes its configuration, with `more` lines; the path.
    fn configure(self, port: u16, dir: &Path, more: &[String]) -> String {
        let place = dir.display();
        let mut lines = match self {
            Self::Mosquitto => format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n\
                 persistence_location {place}/\nmax_queued_messages 0\nmax_inflight_messages 200\n"
            ),
            _ => format!("port {port}\nbind 127.0.0.1\ndir {place}\n"),
        };
        more.iter().for_each(|line| lines.extend([line, "\n"]));
        let file = dir.join("part.conf");
        fs::write(&file, lines).expect("a temporary folder can be written");
        file.display().to_string()
    }

    fn program(self) -> PathBuf {
        match self {
            Self::Nats => nats_program(),
            Self::Redis | Self::RedisCluster | Self::Sentinel => "redis-server".into(),
            // Debian keeps it where only root looks.
            Self::Mosquitto if Path::new("/usr/sbin/mosquitto").exists() => {
                "/usr/sbin/mosquitto".into()
            }
            Self::Mosquitto => "mosquitto".into(),
        }
    }
}

/// The NATS server that `tests/setup.sh` installed beside the build, else the one on the path.
fn nats_program() -> PathBuf {
    let own = build_folder().parent().map(|target| target.join("venv/bin/nats-server"));
    own.filter(|path| path.exists()).unwrap_or_else(|| "nats-server".into())
}

/// A running part.
#[derive(Debug)]
pub struct Part {
    kind: Kind,
    dir: PathBuf,
    /// Removed with the part, unless the folder is somebody else's.
    _home: Option<TempDir>,
    port: u16,
    more: Vec<String>,
    child: Child,
}

impl Part {
    /// Starts it on a free port with empty data of its own.
    ///
    /// # Panics
    /// It does not start; the message has what it printed.
    #[must_use]
    pub fn start(kind: Kind) -> Self {
        Self::start_with(kind, &[])
    }

    /// As [`Part::start`], with further words of its command line, in which `{port}` stands for its port;
    /// for Mosquitto and a sentinel, with further lines of the configuration.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start_with(kind: Kind, more: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder can be made");
        let mut part = Self::start_in(kind, home.path(), more);
        part._home = Some(home);
        part
    }

    /// Starts it on a free port with its data in `dir`.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start_in(kind: Kind, dir: &Path, more: &[&str]) -> Self {
        let more: Vec<String> = more.iter().map(|word| (*word).to_owned()).collect();
        for left in (0..TRIES).rev() {
            let port = free_port();
            match launch(kind, port, dir, &more) {
                Ok(child) => {
                    let dir = dir.to_owned();
                    return Self { kind, dir, _home: None, port, more, child };
                }
                Err(printed) => assert!(left > 0, "{kind:?} does not start:\n{printed}"),
            }
        }
        unreachable!("the last try asserts");
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its address as clients write it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.kind.scheme(), self.address())
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends its process a signal, such as `STOP` or `CONT`.
    ///
    /// # Panics
    /// It is gone.
    pub fn signal(&self, name: &str) {
        let word = format!("-{name}");
        let told = Command::new("kill").args([&word, &self.pid().to_string()]).status();
        assert!(told.expect("kill runs").success(), "{:?} is gone", self.kind);
    }

    /// Ends it without a warning.
    ///
    /// # Panics
    /// The operating system refuses.
    pub fn kill_9(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Starts it again at the same port, with the same data; killed before if it runs.
    ///
    /// # Panics
    /// It does not start.
    pub fn restart(&mut self) {
        self.kill_9();
        let launched = launch(self.kind, self.port, &self.dir, &self.more);
        self.child = launched
            .unwrap_or_else(|printed| panic!("{:?} does not start again:\n{printed}", self.kind));
    }
}

/// Starts a part that outlives this program, with its data and its log in `dir`; its address and its
/// process.
///
/// # Panics
/// It does not start.
#[must_use]
#[allow(clippy::zombie_processes, reason = "it outlives this program")]
pub fn start_lasting(kind: Kind, dir: &Path) -> (String, u32) {
    fs::create_dir_all(dir).expect("the build folder can be written");
    let log = fs::File::create(dir.join("log")).expect("the build folder can be written");
    let port = free_port();
    let mut command = Command::new("setsid");
    command.arg(kind.program()).args(kind.words(port, dir, &[])).stdin(Stdio::null());
    command.stdout(log.try_clone().expect("a file can be cloned")).stderr(log);
    let mut child = command.spawn().expect("setsid runs");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    while TcpStream::connect(address).is_err() {
        if let Ok(Some(end)) = child.try_wait() {
            panic!("{kind:?} ended with {end}, see {}", dir.join("log").display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    (format!("{}://{address}", kind.scheme()), child.id())
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port can be found");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Starts it and waits until it can be used; what it printed if it ends instead.
fn launch(kind: Kind, port: u16, dir: &Path, more: &[String]) -> Result<Child, String> {
    let mut command = kind.command(port, dir, more);
    let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
    let other = writer.try_clone().expect("a pipe can be cloned");
    command.stdout(writer).stderr(other);
    let spawned = command.spawn();
    // It holds the ends for writing; without this, the reader would never see the end.
    drop(command);
    let child = spawned.map_err(|error| {
        format!("{}: {error}; run tests/setup.sh, which installs it", kind.program().display())
    })?;
    let mut printed = String::new();
    let mut lines = BufReader::new(&mut reader).lines().map_while(Result::ok);
    let ready = lines.any(|line| {
        printed.push_str(&line);
        printed.push('\n');
        line.contains(kind.ready())
    });
    if !ready {
        return Err(printed);
    }
    // Read on, or it would block when the pipe is full.
    std::thread::spawn(move || {
        let mut bin = [0; 4096];
        while reader.read(&mut bin).is_ok_and(|count| count > 0) {}
    });
    if kind == Kind::RedisCluster {
        own_all_slots(port);
    }
    Ok(child)
}

fn own_all_slots(port: u16) {
    let port = port.to_string();
    let ask = |words: &[&str]| {
        let out = Command::new("redis-cli").args(["-p", &port]).args(words).output();
        String::from_utf8_lossy(&out.expect("redis-cli runs").stdout).into_owned()
    };
    // After a restart it owns them already.
    let _ = ask(&["cluster", "addslotsrange", "0", "16383"]);
    while !ask(&["cluster", "info"]).contains("cluster_state:ok") {
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_starts_answers_and_starts_again_in_place() {
        for kind in [Kind::Nats, Kind::Redis, Kind::RedisCluster, Kind::Mosquitto] {
            let mut part = Part::start(kind);
            let address = part.address();
            TcpStream::connect(address).unwrap();
            part.restart();
            assert_eq!(part.address(), address);
            TcpStream::connect(address).unwrap();
            part.kill_9();
            TcpStream::connect(address).unwrap_err();
        }
    }

    #[test]
    fn a_part_that_cannot_start_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let more = ["--no-such-option".to_owned()];
        let printed = launch(Kind::Nats, free_port(), dir.path(), &more).unwrap_err();
        assert!(printed.contains("no-such-option"), "{printed}");
    }
}
