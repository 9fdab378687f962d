//! `gnomon stats`: the books of every log, how streams are kept, and what a power cut costs.

use clap::Args;
use gnomon_host::stats::collect;
use gnomon_run::ports::{Place, Ports};
use gnomon_run::{Failure, Flags, Settings};
use serde_json::Value;

use crate::remote::{Remote, text};
use crate::table::{Side, Table};

/// Which deployment, and how to print.
#[derive(Debug, Args)]
pub(crate) struct Ask {
    #[command(flatten)]
    flags: Flags,
    /// Print JSON, for machines
    #[arg(long)]
    json: bool,
}

/// Runs `gnomon stats`; a failure if messages are missing.
pub(crate) fn stats(ask: &Ask) -> Result<(), Failure> {
    let settings = Settings::load(&ask.flags)?;
    let document = read(&settings)?;
    if ask.json {
        println!("{document:#}");
    } else {
        println!("{}", laid_out(&document));
    }
    match document["conserved"].as_bool() {
        Some(true) => Ok(()),
        _ => Err(Failure::new(
            "messages are missing: see the last column, and restore from a backup",
        )),
    }
}

/// A running process with the embedded store is asked over HTTP; servers, and a store that nobody has
/// open, are read here.
fn read(settings: &Settings) -> Result<Value, Failure> {
    if let Place::Embedded(dir) = &settings.place {
        let asked = Remote::at(settings.http).get("/v1/stats");
        if asked.is_ok() || !dir.join("gnomon.redb").exists() {
            return asked;
        }
    }
    let runtime = tokio::runtime::Runtime::new();
    let runtime = runtime.map_err(|error| Failure::from_error("start", &error))?;
    runtime.block_on(async {
        let stats = match Ports::open(settings).await? {
            Ports::Embedded(embedded) => {
                let stats = collect(&embedded, &embedded).await;
                embedded.close().await;
                stats
            }
            Ports::Remote(queue, store) => collect(&queue, &store).await,
        };
        let stats = stats.map_err(|error| Failure::from_error("read the logs", &error))?;
        Ok(serde_json::to_value(stats).unwrap_or_default())
    })
}

fn laid_out(stats: &Value) -> String {
    let mut parts = vec![logs(&stats["logs"])];
    let holds = "received = applied + dead + pending + dropped, for every log";
    parts.push(match stats["conserved"].as_bool() {
        Some(true) => holds.to_owned(),
        _ => format!("DOES NOT HOLD: {holds}"),
    });
    parts.push(streams(&stats["streams"]));
    parts.push(place("queue", &stats["queue"]));
    parts.push(place("store", &stats["store"]));
    parts.join("\n\n")
}

fn logs(logs: &Value) -> String {
    const COUNTS: [&str; 6] = ["received", "applied", "dead", "pending", "dropped", "missing"];
    let mut table =
        Table::new([("log", Side::Left)].into_iter().chain(COUNTS.map(|name| (name, Side::Right))));
    for log in logs.as_array().into_iter().flatten() {
        let counts = COUNTS.map(|name| grouped(log[name].as_u64().unwrap_or(0)));
        table.row([text(&log["log"])].into_iter().chain(counts));
    }
    table.to_string()
}

fn streams(streams: &Value) -> String {
    let heads = ["stream", "class", "copies", "kept for", "kept messages", "kept bytes"];
    let sides = [Side::Left, Side::Left, Side::Right, Side::Right, Side::Right, Side::Right];
    let mut table = Table::new(heads.into_iter().zip(sides));
    for stream in streams.as_array().into_iter().flatten() {
        table.row([
            text(&stream["stream"]),
            text(&stream["class"]),
            text(&stream["copies"]),
            stream["kept_age_ms"].as_u64().map_or("-".to_owned(), age),
            stream["kept_messages"].as_u64().map_or("-".to_owned(), grouped),
            stream["kept_bytes"].as_u64().map_or("-".to_owned(), grouped),
        ]);
    }
    table.to_string()
}

fn place(what: &str, place: &Value) -> String {
    let mut lines = vec![format!("{what:<7}{}", text(&place["server"]))];
    for setting in place["settings"].as_array().into_iter().flatten() {
        lines.push(format!("       {} {}", text(&setting[0]), text(&setting[1])));
    }
    lines.push(format!("       {}", text(&place["power_cut"])));
    lines.join("\n")
}

/// `1234567` -> `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Milliseconds in the largest unit that fits: `7 days`.
fn age(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(86_400_000, "days"), (3_600_000, "hours"), (60_000, "minutes"), (1_000, "seconds")];
    let fits = UNITS.iter().find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit));
    fits.map_or_else(|| format!("{ms} ms"), |(unit, name)| format!("{} {name}", ms / unit))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_and_ages_are_written_for_people() {
        for (number, then) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), then);
        }
        for (ms, then) in [(604_800_000, "7 days"), (90_000, "90 seconds"), (5, "5 ms")] {
            assert_eq!(age(ms), then);
        }
    }

    #[test]
    fn the_books_are_laid_out_in_columns_and_a_loss_is_said_aloud() {
        let log = json!({
            "log": "telemetry/0", "received": 1200, "applied": 1190, "dead": 3, "pending": 5,
            "dropped": 0, "missing": 2,
        });
        let told = laid_out(&json!({ "conserved": false, "logs": [log], "streams": [] }));
        let mut lines = told.lines();
        assert_eq!(
            lines.next(),
            Some("log          received  applied  dead  pending  dropped  missing")
        );
        assert_eq!(
            lines.next(),
            Some("telemetry/0     1,200    1,190     3        5        0        2")
        );
        assert!(told.contains("DOES NOT HOLD"), "{told}");
    }
}
