//! The command line: run, check, device, dead, simulate.

mod check;
mod dead;
mod library;
mod logging;
mod publisher;
mod reload;
mod remote;
mod run;
mod settings;
mod simulate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::settings::Flags;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rule engine and device shadows on message queues.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run everything in this process, on the embedded store.
    Run(Flags),
    /// Check thing models and rules, without running anything.
    Check(Flags),
    /// Look at devices of a running Gnomon.
    Device {
        #[command(subcommand)]
        verb: remote::DeviceVerb,
    },
    /// Look at messages that can never be applied, of a running Gnomon, and replay them.
    Dead {
        #[command(subcommand)]
        verb: dead::DeadVerb,
    },
    /// Play a time series from a CSV file as one device, over MQTT.
    Simulate(simulate::Simulate),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Run(flags) => run::run(&flags),
        Verb::Check(flags) => check::check(&flags),
        Verb::Device { verb } => remote::device(&verb),
        Verb::Dead { verb } => dead::dead(&verb),
        Verb::Simulate(simulate) => simulate::simulate(&simulate),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(lines)) => {
            for line in lines {
                eprintln!("gnomon: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Why a command did not do what was asked: what a person is told, one line each.
#[derive(Debug)]
struct Failure(Vec<String>);

impl Failure {
    fn new(line: impl Into<String>) -> Self {
        Self(vec![line.into()])
    }

    /// The attempt, then the whole chain of reasons.
    fn from_error(attempt: &str, error: &dyn std::error::Error) -> Self {
        let mut line = format!("{attempt}: {error}");
        let mut source = error.source();
        while let Some(error) = source {
            line.push_str(&format!(": {error}"));
            source = error.source();
        }
        Self::new(line)
    }
}
