//! The command line: run, check, device, dead, stats, readers, backup, restore, rebuild, migrate,
//! simulate.

mod backup;
mod check;
mod dead;
mod migrate;
mod publisher;
mod readers;
mod rebuild;
mod records;
mod remote;
mod run;
mod simulate;
mod stats;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use gnomon_run::Flags;

/// Rule engine and device shadows on message queues.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run everything in this process, on the embedded store or on NATS and Redis.
    Run(Flags),
    /// Check thing models and rules, without running anything.
    Check(Flags),
    /// Look at devices of a running Gnomon.
    Device {
        #[command(subcommand)]
        verb: remote::DeviceVerb,
    },
    /// Look at messages that can never be applied, of a running Gnomon, replay or drop them.
    Dead {
        #[command(subcommand)]
        verb: dead::DeadVerb,
    },
    /// Show what each log received and what became of it, and what a power cut would cost.
    Stats(stats::Ask),
    /// Look at who reads the downlink on NATS, and drop those that will not come again.
    Readers(readers::Readers),
    /// Write records, sessions, models and rules into one file.
    Backup(backup::Backup),
    /// Put back what `gnomon backup` wrote.
    Restore(backup::Restore),
    /// Make the records again from what the queue still has.
    Rebuild(rebuild::Rebuild),
    /// Bring what an older build left to the format of this one; stop everything before.
    Migrate(migrate::Migrate),
    /// Play a time series from a CSV file as one device, over MQTT.
    Simulate(simulate::Simulate),
}

fn main() -> ExitCode {
    gnomon_run::report(match Arguments::parse().verb {
        Verb::Run(flags) => run::run(&flags),
        Verb::Check(flags) => check::check(&flags),
        Verb::Device { verb } => remote::device(&verb),
        Verb::Dead { verb } => dead::dead(&verb),
        Verb::Stats(ask) => stats::stats(&ask),
        Verb::Readers(asked) => readers::readers(&asked),
        Verb::Backup(asked) => backup::backup(&asked),
        Verb::Restore(asked) => backup::restore(&asked),
        Verb::Rebuild(asked) => rebuild::rebuild(&asked),
        Verb::Migrate(asked) => migrate::migrate(&asked),
        Verb::Simulate(simulate) => simulate::simulate(&simulate),
    })
}
