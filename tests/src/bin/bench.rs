//! `make bench`: the server and the load generator, a process each, at three rates; the figures of
//! `docs/benchmarks.md`.

use std::process::{Command, ExitCode};

use clap::Parser;
use gnomon_tests::server::{Options, Server, build_folder};
use serde_json::{Value, json};

/// Rates of the comparison, and the name of each.
const RATES: [&str; 3] = ["5000", "10000", "max"];

/// Starts a fresh server for every run and measures it under load.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many devices
    #[arg(long, default_value_t = 1000)]
    devices: u32,
    /// How long each run sends
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Runs at each rate, of which the median is shown
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Only this rate: messages per second, or `max`
    #[arg(long)]
    rate: Option<String>,
    /// MQTT version: 3 or 5
    #[arg(long, default_value = "3")]
    version: String,
    /// Partitions of the server [default: its own]
    #[arg(long)]
    partitions: Option<u16>,
    /// Print JSON, one line for each run
    #[arg(long)]
    json: bool,
}

/// What is shown of each run: title and how the load generator calls it.
const COLUMNS: [(&str, &str); 8] = [
    ("messages/s", "messages_per_second"),
    ("per CPU-s", "messages_per_cpu_second"),
    ("p50 ms", "p50_ms"),
    ("p99 ms", "p99_ms"),
    ("max ms", "max_ms"),
    ("MiB", "server_memory_most_mib"),
    ("delivered", "alerts_delivered"),
    ("expected", "alerts_expected"),
];

/// Measured elsewhere on a machine of this size, nothing of it durable: name, messages per
/// CPU-second at a paced 10,000/s and unpaced, p99 at 10,000/s.
const OTHERS: [(&str, &str, &str, &str); 2] = [
    ("Mosquitto + bare Rust client, one flag a device", "17000", "31000", "-"),
    ("Mosquitto + Node-RED", "10200", "16000", "67 ms"),
];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let rates: Vec<&str> = match &arguments.rate {
        Some(rate) => vec![rate],
        None => RATES.to_vec(),
    };
    if !arguments.json {
        println!("{}", head(&arguments));
    }
    let mut complete = true;
    for rate in rates {
        let mut runs: Vec<Value> = (0..arguments.runs).map(|_| run(&arguments, rate)).collect();
        complete &= runs.iter().all(|run| run["complete"] == json!(true));
        if arguments.json {
            runs.iter().for_each(|run| println!("{run}"));
        } else {
            println!("{}", row(rate, &mut runs));
        }
    }
    if !arguments.json {
        println!("{}", others());
    }
    if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One run against a fresh server: the figures of the load generator.
fn run(arguments: &Arguments, rate: &str) -> Value {
    let partitions = arguments.partitions.map(|count| ["--partitions".into(), count.to_string()]);
    let more = partitions.into_iter().flatten().collect();
    let mut server = Server::start(Options { more, ..Options::default() });
    let load = build_folder().join("load");
    let output = Command::new(&load)
        .args(["--json", "--addr", &server.mqtt().to_string()])
        .args(["--pid", &server.pid().to_string(), "--rate", rate])
        .args(["--devices", &arguments.devices.to_string()])
        .args(["--seconds", &arguments.seconds.to_string()])
        .args(["--version", &arguments.version])
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", load.display()));
    let text = String::from_utf8_lossy(&output.stdout);
    let figures: Value = serde_json::from_str(&text).unwrap_or_else(|_| {
        panic!("the load generator says: {text}{}", String::from_utf8_lossy(&output.stderr))
    });
    if figures["complete"] != json!(true) {
        eprintln!("bench: not everything was acknowledged and delivered: {figures}");
    }
    let end = server.terminate();
    assert!(end.success(), "the server ended with {end}:\n{}", server.log());
    figures
}

fn head(arguments: &Arguments) -> String {
    let Arguments { devices, seconds, runs, version, .. } = arguments;
    let titles: String = COLUMNS.iter().map(|(title, _)| format!("{title:>12}")).collect();
    format!(
        "{devices} devices, half of them alerting, MQTT {version}, QoS 1 both ways, 90-byte payloads, \
         {seconds} s, median of {runs}\n\
         validate, one rule, durable shadow; per CPU-s: of the server's process\n\n{:>10}{titles}",
        "rate"
    )
}

fn row(rate: &str, runs: &mut [Value]) -> String {
    runs.sort_by(|a, b| {
        let key = |run: &Value| run["messages_per_cpu_second"].as_f64().unwrap_or_default();
        key(a).total_cmp(&key(b))
    });
    let median = &runs[runs.len() / 2];
    let cells: String =
        COLUMNS.iter().map(|(_, key)| format!("{:>12}", shown(&median[key]))).collect();
    format!("{rate:>10}{cells}")
}

fn shown(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number.fract() == 0.0 => format!("{number:.0}"),
        Some(number) => format!("{number:.2}"),
        None => "-".to_owned(),
    }
}

fn others() -> String {
    let rows = OTHERS.iter().map(|(name, paced, unpaced, p99)| {
        format!("{name:<48} {paced:>10} at 10000/s {unpaced:>10} at max    p99 {p99}")
    });
    let rows: Vec<String> = rows.collect();
    format!(
        "\nfor comparison, messages per CPU-second of broker and client together, not durable:\n{}",
        rows.join("\n")
    )
}
