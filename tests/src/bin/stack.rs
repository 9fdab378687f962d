//! NATS, Redis and Mosquitto as plain processes for development: `make up`, `make down`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Parser, ValueEnum};
use gnomon_tests::server::build_folder;
use gnomon_tests::stack::{Kind, start_lasting};

/// Starts or stops NATS, Redis and Mosquitto on free loopback ports, data under target/stack.
#[derive(Debug, Parser)]
struct Arguments {
    verb: Verb,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Verb {
    /// Start what is not running, and print addresses and a line to try.
    Up,
    /// Stop all; the data stays.
    Down,
}

const PARTS: [(&str, Kind); 3] =
    [("nats", Kind::Nats), ("redis", Kind::Redis), ("mosquitto", Kind::Mosquitto)];

fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Up => up(),
        Verb::Down => down(),
    }
    ExitCode::SUCCESS
}

fn folder(name: &str) -> PathBuf {
    let target = build_folder().parent().expect("a profile is in the build folder").to_owned();
    target.join("stack").join(name)
}

/// Address and process of a part that is running.
fn running(name: &str) -> Option<(String, u32)> {
    let note = fs::read_to_string(folder(name).join("running")).ok()?;
    let (address, pid) = note.trim().split_once(' ')?;
    let pid = pid.parse().ok()?;
    fs::exists(format!("/proc/{pid}")).ok()?.then(|| (address.to_owned(), pid))
}

fn up() {
    let mut addresses = Vec::new();
    for (name, kind) in PARTS {
        let (address, pid) = running(name).unwrap_or_else(|| start_lasting(kind, &folder(name)));
        fs::write(folder(name).join("running"), format!("{address} {pid}\n"))
            .expect("the build folder can be written");
        println!("  {name:<10} {address}");
        addresses.push(address);
    }
    println!("try: gnomon run --queue {} --store {}", addresses[0], addresses[1]);
    println!(
        "     gnomon run --queue {} --store {} --broker {}",
        addresses[0], addresses[1], addresses[2]
    );
}

fn down() {
    for (name, _) in PARTS {
        match running(name) {
            Some((_, pid)) => {
                let told = Command::new("kill").arg(pid.to_string()).status();
                println!(
                    "  {name:<10} {}",
                    if told.is_ok_and(|end| end.success()) { "stopped" } else { "is gone" }
                );
            }
            None => println!("  {name:<10} was not running"),
        }
        // Not there if it was not running.
        let _ = fs::remove_file(folder(name).join("running"));
    }
}
