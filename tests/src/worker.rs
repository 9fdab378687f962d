//! A function as a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::server::{binary, repository};

/// A running function. Dropping it kills it.
#[derive(Debug)]
pub struct Worker {
    program: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    child: Child,
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
        let arguments = ["--queue", queue, "--store", store, "--rules", &folder("rules")]
            .into_iter()
            .map(str::to_owned)
            .chain(["--schemas".to_owned(), folder("schemas")])
            .chain(more.iter().map(|word| (*word).to_owned()))
            .collect::<Vec<_>>();
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let environment = environment.iter().map(owned).collect::<Vec<_>>();
        let child = launch(&program, &arguments, &environment);
        Self { program, arguments, environment, child }
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
        self.child = launch(&self.program, &self.arguments, &self.environment);
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
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(program: &str, arguments: &[String], environment: &[(String, String)]) -> Child {
    let path = binary().parent().unwrap_or(Path::new(".")).join(program);
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(&path)
        .args(arguments)
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let works = lines.any(|line| line.is_ok_and(|line| line.contains("(Ctrl-C stops)")));
    assert!(works, "{} does not start; is it built?", path.display());
    child
}
