//! Every command that the README prints is run, exactly as printed but for the ports, and shows
//! what the README says.
//!
//! A block marked `sh` is a step: lines that begin with `$ ` are commands, the lines below each
//! are parts of its output. `make run` is the server that this test starts. A `mosquitto_sub`
//! goes on beside the rest; the next block marked `text` shows what it prints.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use gnomon_tests::server::{Beside, Options, Server, binary, repository};

/// How long something may take that takes milliseconds on a machine that is not busy.
const SOON: Duration = Duration::from_secs(20);

/// Something that the README shows.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// A command, and parts of what it prints.
    Run { command: String, shown: Vec<String> },
    /// A line of a subscriber: the parts of it around each `…`.
    Printed { parts: Vec<String> },
}

/// The steps of a text in Markdown, in order.
fn steps(markdown: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut block = "";
    for line in markdown.lines() {
        if let Some(kind) = line.strip_prefix("```") {
            block = if block.is_empty() && !kind.is_empty() { kind } else { "" };
            continue;
        }
        match (block, line.strip_prefix("$ ")) {
            ("sh", Some(command)) => {
                steps.push(Step::Run { command: command.to_owned(), shown: Vec::new() });
            }
            ("sh", None) => match steps.last_mut() {
                Some(Step::Run { shown, .. }) => shown.push(line.to_owned()),
                _ => panic!("a block marked sh begins with `$ `, not with {line}"),
            },
            ("text", _) => steps.push(Step::Printed { parts: parts(line) }),
            _ => {}
        }
    }
    steps
}

fn parts(line: &str) -> Vec<String> {
    line.split('…').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// The command for the ports and the binary of this test.
fn adapted(command: &str, server: &Server) -> String {
    let mqtt = server.mqtt().port();
    let mut adapted = command.replace("127.0.0.1:8080", &server.http().to_string());
    adapted = adapted.replace("target/release/gnomon", &binary().display().to_string());
    adapted = adapted.replace("mosquitto_pub ", &format!("mosquitto_pub -p {mqtt} "));
    // -d: it says when it has subscribed.
    adapted.replace("mosquitto_sub ", &format!("stdbuf -oL mosquitto_sub -d -p {mqtt} "))
}

fn shell(command: &str, server: &Server) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &adapted(command, server)]).current_dir(repository());
    shell.env("GNOMON_HTTP", server.http().to_string());
    shell
}

/// Runs a command; what only looks is repeated until it shows what is printed, since a message is
/// applied a moment after it was acknowledged.
fn run(command: &str, shown: &[String], server: &Server) {
    let only_looks =
        command.contains("gnomon ") || command.contains("curl") && !command.contains("-X");
    let deadline = Instant::now() + SOON;
    loop {
        let output = shell(command, server).output().expect("sh runs");
        let text = text(&output);
        assert!(output.status.success(), "$ {command}\n{text}");
        if shown.iter().all(|part| text.contains(part.trim())) {
            return;
        }
        let late = !only_looks || Instant::now() > deadline;
        assert!(!late, "$ {command}\nshould show {shown:?}, not\n{text}");
    }
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

fn greets_with(server: &Server, shown: &[String]) {
    let greeting = server.greeting().join("\n");
    for part in shown {
        let part = part
            .replace("127.0.0.1:1883", &server.mqtt().to_string())
            .replace("127.0.0.1:8080", &server.http().to_string());
        assert!(greeting.contains(part.trim()), "make run shows {part}, not\n{greeting}");
    }
}

#[test]
fn every_command_of_the_readme_does_what_it_says() {
    let readme = std::fs::read_to_string(repository().join("README.md")).expect("there is one");
    let steps = steps(&readme);
    assert!(steps.len() >= 5, "the README has only {} commands", steps.len());
    let server = Server::start(Options::default());
    let mut subscriber: Option<Beside> = None;
    for step in steps {
        match step {
            Step::Run { command, shown } if command == "make run" => greets_with(&server, &shown),
            Step::Run { command, .. } if command.starts_with("mosquitto_sub") => {
                let mut shell = shell(&format!("exec {command}"), &server);
                let started = subscriber.insert(Beside::start(&mut shell));
                started.wait_for(&["Subscribed"], SOON);
            }
            Step::Run { command, shown } => run(&command, &shown, &server),
            Step::Printed { parts } => {
                let subscriber = subscriber.as_mut().expect("a mosquitto_sub is printed before");
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                subscriber.wait_for(&parts, SOON);
            }
        }
    }
}

#[test]
fn blocks_are_taken_apart() {
    let markdown =
        "text\n```sh\n$ a b\nshown\n$ c\n```\n$ not this\n```text\nx … y\n```\n```rhai\nz\n```";
    let run = |command: &str, shown: &[&str]| Step::Run {
        command: command.to_owned(),
        shown: shown.iter().map(|&part| part.to_owned()).collect(),
    };
    let printed = Step::Printed { parts: vec!["x".to_owned(), "y".to_owned()] };
    assert_eq!(steps(markdown), [run("a b", &["shown"]), run("c", &[]), printed]);
}
