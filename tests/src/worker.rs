//! A function as a process of its own.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::server::{binary, repository, tail};

/// A running function. Dropping it kills it; if the test is failing, the end of its log is printed first.
#[derive(Debug)]
pub struct Worker {
    program: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    child: Child,
    greeting: String,
    /// Where its log is.
    home: TempDir,
}

impl Worker {
    /// Starts the program of a function, such as `telemetry`, on this queue and store, and waits until
    /// it works.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start(function: &str, queue: &str, store: &str, more: &[&str]) -> Self {
        Self::start_told(function, queue, store, more, &[])
    }

    /// As [`Worker::start`], with further settings in its environment.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start_told(
        function: &str,
        queue: &str,
        store: &str,
        more: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let program = format!("gnomon-{function}");
        let folder = |name: &str| repository().join(name).display().to_string();
        let mut arguments = ["--queue", queue, "--store", store].map(str::to_owned).to_vec();
        arguments.extend(more.iter().map(|word| (*word).to_owned()));
        for (flag, name) in [("--rules", "rules"), ("--schemas", "schemas")] {
            if !more.contains(&flag) {
                arguments.extend([flag.to_owned(), folder(name)]);
            }
        }
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let environment = environment.iter().map(owned).collect::<Vec<_>>();
        let home = tempfile::tempdir().expect("a temporary folder can be made");
        let (child, greeting) = launch(&program, &arguments, &environment, home.path());
        Self { program, arguments, environment, child, greeting, home }
    }

    /// The line by which it said that it works.
    #[must_use]
    pub fn greeting(&self) -> &str {
        &self.greeting
    }

    /// Sends its process a signal, such as `STOP` or `CONT`.
    ///
    /// # Panics
    /// It is gone.
    pub fn signal(&self, name: &str) {
        let word = format!("-{name}");
        let told = Command::new("kill").args([&word, &self.child.id().to_string()]).status();
        assert!(told.expect("kill runs").success(), "{} is gone", self.program);
    }

    /// Ends it without a warning, and starts it again.
    ///
    /// # Panics
    /// It does not start again.
    pub fn kill_9_and_restart(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
        (self.child, self.greeting) =
            launch(&self.program, &self.arguments, &self.environment, self.home.path());
    }

    /// What it has logged so far, in all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Panics
    /// It does not end well.
    pub fn terminate(mut self) {
        self.signal("TERM");
        let end = self.child.wait().expect("a child can be waited for");
        assert!(end.success(), "{} ended with {end}", self.program);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- end of {}'s log\n{}---", self.program, tail(&self.log(), 20));
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(
    program: &str,
    arguments: &[String],
    environment: &[(String, String)],
    home: &Path,
) -> (Child, String) {
    let log = OpenOptions::new().create(true).append(true).open(home.join("log"));
    let path = binary().parent().unwrap_or(Path::new(".")).join(program);
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(&path)
        .args(arguments)
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.expect("a log can be written"))
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let greeting = lines.find_map(|line| line.ok().filter(|line| line.contains("(Ctrl-C stops)")));
    let greeting =
        greeting.unwrap_or_else(|| panic!("{} does not start; is it built?", path.display()));
    (child, greeting)
}
