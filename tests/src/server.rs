//! `gnomon run` as a child process: started on free ports and fresh data, watched, killed, started
//! again.
//!
//! Never: a fixed port, a sleep. What is waited for is a line of output or the end of it.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Names the binary to test; without it, the harness builds one.
pub const BINARY_VARIABLE: &str = "TESTED_GNOMON";
/// How long a start or an orderly end may take, on a machine that is busy with other tests.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Settings of the server come from the harness, not from whoever runs the tests.
const SETTINGS: [&str; 8] = [
    "GNOMON_MQTT",
    "GNOMON_HTTP",
    "GNOMON_DATA",
    "GNOMON_RULES",
    "GNOMON_SCHEMAS",
    "GNOMON_PARTITIONS",
    "GNOMON_CONFIG",
    "GNOMON_LOG",
];

/// The root of the repository.
///
/// # Panics
/// Never: this package is a folder of it.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of it")
}

/// The folder that cargo builds into, as the running test or tool knows it.
///
/// # Panics
/// This program was moved out of the folder that cargo put it in.
#[must_use]
pub fn build_folder() -> PathBuf {
    let own = std::env::current_exe().expect("a program knows where it is");
    let profile = own.ancestors().find(|at| at.ends_with("debug") || at.ends_with("release"));
    profile.expect("a test is in target/debug or target/release").to_owned()
}

/// The binary to test, of the same profile as this program; built first unless `TESTED_GNOMON`
/// names one.
///
/// # Panics
/// It does not build.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os(BINARY_VARIABLE) {
        Some(path) => repository().join(path),
        None => build(),
    })
}

fn build() -> PathBuf {
    let folder = build_folder();
    let profile = if folder.ends_with("release") { "release" } else { "dev" };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", "gnomon", "--profile", profile])
        .current_dir(repository())
        .status()
        .expect("cargo runs");
    assert!(built.success(), "gnomon does not build");
    folder.join("gnomon")
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Rules.
    pub rules: PathBuf,
    /// Thing models.
    pub schemas: PathBuf,
    /// Further words of the command line.
    pub more: Vec<String>,
    /// Whether it listens for devices itself.
    pub serves_mqtt: bool,
}

impl Default for Options {
    /// The rules and models of the repository.
    fn default() -> Self {
        let (rules, schemas) = (repository().join("rules"), repository().join("schemas"));
        Self { rules, schemas, more: Vec::new(), serves_mqtt: true }
    }
}

/// A server and its data. Dropping it kills the one and removes the other; if the test is failing,
/// the end of the log is printed first.
#[derive(Debug)]
pub struct Server {
    options: Options,
    home: TempDir,
    running: Running,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// Lines of standard output; disconnected when the process ends.
    lines: Receiver<String>,
    greeting: Vec<String>,
    mqtt: SocketAddr,
    http: SocketAddr,
}

impl Server {
    /// Starts a server on free ports and empty data, and waits until it listens.
    ///
    /// # Panics
    /// It does not start; the message has its log.
    #[must_use]
    pub fn start(options: Options) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder can be made");
        let running = Running::start(&options, home.path(), ["127.0.0.1:0"; 2].map(str::to_owned));
        Self { options, home, running }
    }

    /// Starts it again on the same data, at other ports.
    ///
    /// # Panics
    /// It does not start.
    pub fn restart(&mut self) {
        self.kill_9();
        let free = ["127.0.0.1:0"; 2].map(str::to_owned);
        self.running = Running::start(&self.options, self.home.path(), free);
    }

    /// Starts it again on the same data and the same ports, for clients that know no others.
    ///
    /// # Panics
    /// It does not start.
    pub fn restart_in_place(&mut self) {
        self.kill_9();
        let same = [self.mqtt().to_string(), self.http().to_string()];
        self.running = Running::start(&self.options, self.home.path(), same);
    }

    /// Ends it without a warning, and waits until it is gone.
    ///
    /// # Panics
    /// The operating system refuses.
    pub fn kill_9(&mut self) {
        self.running.child.kill().expect("a child can be killed");
        self.running.child.wait().expect("a child can be waited for");
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Panics
    /// It does not stop in time.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        let deadline = Instant::now() + READY_WITHIN;
        while self.line(deadline).is_some() {}
        self.running.child.wait().expect("a child can be waited for")
    }

    /// Sends its process a signal, such as `STOP` or `CONT`.
    ///
    /// # Panics
    /// It is gone.
    pub fn signal(&self, name: &str) {
        let (word, pid) = (format!("-{name}"), self.pid().to_string());
        let told = Command::new("kill").args([word, pid]).status().expect("kill runs");
        assert!(told.success(), "the server is gone already");
    }

    /// Waits for the next line of output; none when there will be no more.
    fn line(&self, deadline: Instant) -> Option<String> {
        let rest = deadline.saturating_duration_since(Instant::now());
        match self.running.lines.recv_timeout(rest) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the server does not stop"),
        }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.child.id()
    }

    /// Where devices connect.
    #[must_use]
    pub fn mqtt(&self) -> SocketAddr {
        self.running.mqtt
    }

    /// Where applications connect.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.running.http
    }

    /// The address of a resource: `path` begins with `/`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http())
    }

    /// What it printed until it listened.
    #[must_use]
    pub fn greeting(&self) -> &[String] {
        &self.running.greeting
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        read_log(self.home.path())
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- end of the server's log\n{}---", tail(&self.log(), 40));
        }
        // It may be gone already, which is what is wanted.
        let _ = self.running.child.kill();
        let _ = self.running.child.wait();
    }
}

impl Running {
    fn start(options: &Options, home: &Path, addresses: [String; 2]) -> Self {
        let mut child = spawn(options, home, addresses);
        let lines = follow(child.stdout.take().expect("standard output is piped"));
        let deadline = Instant::now() + READY_WITHIN;
        let mut greeting = Vec::new();
        let (mut mqtt, mut http) = (None, None);
        if !options.serves_mqtt {
            mqtt = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        }
        while mqtt.is_none() || http.is_none() {
            let rest = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = lines.recv_timeout(rest) else {
                // Killed first: a server that hangs would be waited for without end.
                let _ = child.kill();
                let _ = child.wait();
                panic!("the server does not start:\n{}\n{}", greeting.join("\n"), read_log(home));
            };
            mqtt = mqtt.or_else(|| listening(&line, "mqtt"));
            http = http.or_else(|| listening(&line, "http"));
            greeting.push(line);
        }
        let (mqtt, http) = (mqtt.expect("just seen"), http.expect("just seen"));
        Self { child, lines, greeting, mqtt, http }
    }
}

fn spawn(options: &Options, home: &Path, [mqtt, http]: [String; 2]) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(home.join("log"));
    let mut command = Command::new(binary());
    for setting in SETTINGS {
        command.env_remove(setting);
    }
    command
        .args(["run", "--mqtt", &mqtt, "--http", &http])
        .arg("--data")
        .arg(home.join("data"))
        .arg("--rules")
        .arg(&options.rules)
        .arg("--schemas")
        .arg(&options.schemas)
        .args(&options.more)
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.expect("a log can be written"))
        .spawn()
        .unwrap_or_else(|error| panic!("start {}: {error}", binary().display()))
}

/// Reads lines until the process ends, so that it never waits for somebody to read.
fn follow(output: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Nobody may be listening any more; reading goes on all the same.
            let _ = sender.send(line);
        }
    });
    receiver
}

/// The address in a start-up line such as `  mqtt     127.0.0.1:1883  (…)`.
fn listening(line: &str, what: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace();
    (words.next()? == what).then(|| words.next())??.parse().ok()
}

fn read_log(home: &Path) -> String {
    fs::read_to_string(home.join("log")).unwrap_or_default()
}

/// The last `count` lines.
#[must_use]
pub fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| format!("{line}\n")).collect()
}

/// A program that runs beside the test and whose output is read line by line, such as a
/// subscriber. Dropping it kills it.
#[derive(Debug)]
pub struct Beside {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Beside {
    /// Starts the command.
    ///
    /// # Panics
    /// There is no such program.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = started.unwrap_or_else(|error| {
            panic!("{:?}: {error}: `make test` installs what is missing", command.get_program())
        });
        let lines = follow(child.stdout.take().expect("standard output is piped"));
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits for a line of output, past ones included, that holds all the fragments.
    ///
    /// # Panics
    /// None came `within` that time, or the program ended; the message has all lines.
    pub fn wait_for(&mut self, fragments: &[&str], within: Duration) -> String {
        let deadline = Instant::now() + within;
        let fits = |line: &&String| fragments.iter().all(|part| line.contains(part));
        loop {
            if let Some(line) = self.seen.iter().find(fits) {
                return line.clone();
            }
            let rest = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(rest) {
                Ok(line) => self.seen.push(line),
                Err(end) => panic!("{end}: no line with {fragments:?} in {:#?}", self.seen),
            }
        }
    }
}

impl Beside {
    /// Lines of output so far, as far as they were waited for, that hold all the fragments.
    #[must_use]
    pub fn seen(&self, fragments: &[&str]) -> Vec<&str> {
        let fits = |line: &&str| fragments.iter().all(|part| line.contains(part));
        self.seen.iter().map(String::as_str).filter(fits).collect()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a file in a folder, making the folder if need be.
///
/// # Panics
/// The disk refuses.
pub fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("make a folder");
    let mut file = File::create(path).expect("make a file");
    std::io::Write::write_all(&mut file, text.as_bytes()).expect("write a file");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_start_up_lines() {
        let line = "  mqtt     127.0.0.1:41234  (MQTT 3.1.1 and 5)";
        assert_eq!(listening(line, "mqtt").unwrap().port(), 41234);
        assert_eq!(listening(line, "http"), None);
        assert_eq!(listening("mqtt", "mqtt"), None);
        assert_eq!(listening("", "mqtt"), None);
    }

    #[test]
    fn the_tail_is_the_end() {
        assert_eq!(tail("a\nb\nc", 2), "b\nc\n");
        assert_eq!(tail("", 2), "");
    }
}
