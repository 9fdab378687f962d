//! `gnomon simulate`: a time series from a CSV file, played as one device over MQTT.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Args;
use gnomon_dialect::plain::telemetry_topic;
use gnomon_model::DeviceKey;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::json;

use crate::publisher::Publisher;
use gnomon_run::Failure;

/// What to play, and how fast.
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// CSV file with columns `timestamp` (without zone, taken as UTC) and `value`
    #[arg(long, value_name = "FILE")]
    csv: PathBuf,
    /// Product of the device
    #[arg(long)]
    product: String,
    /// Name of the device
    #[arg(long)]
    device: String,
    /// Property that the values are reported as
    #[arg(long)]
    property: String,
    /// How much faster than the series' own times: `200000x`, or `max` for no pauses
    #[arg(long, default_value = "max")]
    speed: Speed,
    /// Where the server listens for devices
    #[arg(long, value_name = "ADDR", env = "GNOMON_MQTT", default_value = "127.0.0.1:1883")]
    mqtt: String,
}

/// How fast to play.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Speed {
    /// Without pauses.
    Max,
    /// So many times faster than the series' own times.
    Times(f64),
}

impl FromStr for Speed {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let times = text.strip_suffix('x').and_then(|times| times.parse().ok());
        match times {
            Some(times) if times > 0.0 && f64::is_finite(times) => Ok(Self::Times(times)),
            _ => Err("use `max`, or a number with an x, such as 200000x".to_owned()),
        }
    }
}

/// One row of the series.
#[derive(Debug, PartialEq)]
struct Row {
    time_ms: i64,
    value: f64,
}

/// Plays the series to its end, and prints what was acknowledged.
pub(crate) fn simulate(simulate: &Simulate) -> Result<(), Failure> {
    let device = DeviceKey::parse(&simulate.product, &simulate.device)
        .map_err(|error| Failure::new(error.to_string()))?;
    let rows = read_series(&simulate.csv)?;
    let client = format!("simulate-{}-{}", device.product, device.device);
    let mut publisher = Publisher::connect(&simulate.mqtt, &client, &device.to_string())?;
    let topic = telemetry_topic(&device);
    let bar = progress_bar(rows.len());
    let start = Instant::now();
    let mut clock = Clock { start, first_ms: rows.first().map_or(0, |row| row.time_ms) };
    for row in &rows {
        clock.wait(simulate.speed, row, &mut publisher)?;
        let report = json!({ "time": row.time_ms, "values": { &simulate.property: row.value } });
        publisher.publish(&topic, report.to_string().into_bytes())?;
        bar.inc(1);
    }
    publisher.finish()?;
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{} rows published as {device}, {} acknowledged, {} reconnects, {seconds:.1} s, {:.0} per second",
        rows.len(),
        publisher.acknowledged,
        publisher.connects - 1,
        rows.len() as f64 / seconds.max(0.001),
    );
    Ok(())
}

/// Turns the series' time into waiting time.
struct Clock {
    start: Instant,
    first_ms: i64,
}

impl Clock {
    fn wait(&mut self, speed: Speed, row: &Row, publisher: &mut Publisher) -> Result<(), Failure> {
        let Speed::Times(times) = speed else { return Ok(()) };
        let into_series_s = (row.time_ms - self.first_ms).max(0) as f64 / 1000.0;
        let due = self.start + Duration::from_secs_f64(into_series_s / times);
        let left = due.saturating_duration_since(Instant::now());
        publisher.read_for(left.min(Duration::from_millis(1)))?;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        Ok(())
    }
}

fn progress_bar(rows: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} rows  {per_sec}  {eta} left")
        .expect("the template is a constant that was tried");
    ProgressBar::new(rows as u64).with_style(style)
}

fn read_series(path: &Path) -> Result<Vec<Row>, Failure> {
    let shown = path.display();
    let text =
        fs::read_to_string(path).map_err(|error| Failure::new(format!("{shown}: {error}")))?;
    let mut lines = text.lines().enumerate();
    match lines.next() {
        Some((_, head)) if head.trim() == "timestamp,value" => {}
        _ => {
            return Err(Failure::new(format!(
                "{shown}:1: the first line is not `timestamp,value`"
            )));
        }
    }
    let parsed: Result<Vec<Row>, String> = lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(at, line)| parse_row(line).map_err(|why| format!("{shown}:{}: {why}", at + 1)))
        .collect();
    parsed.map_err(Failure::new)
}

fn parse_row(line: &str) -> Result<Row, String> {
    let (time, value) = line.trim().split_once(',').ok_or("a row is `timestamp,value`")?;
    let time: DateTime = time.parse().map_err(|error| format!("`{time}`: {error}"))?;
    let zoned = time.to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
    let value: f64 = value.parse().map_err(|error| format!("`{value}`: {error}"))?;
    if !value.is_finite() {
        return Err(format!("`{value}` is not a finite number"));
    }
    Ok(Row { time_ms: zoned.timestamp().as_millisecond(), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_time_in_utc_and_a_value() {
        let row = Row { time_ms: 1_386_018_900_000, value: 73.967_322_07 };
        assert_eq!(parse_row("2013-12-02 21:15:00,73.96732207"), Ok(row));
        assert!(parse_row("2013-12-02,nan").is_err());
    }

    #[test]
    fn speeds_are_max_or_a_factor() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("200000x".parse(), Ok(Speed::Times(200_000.0)));
        for bad in ["200000", "0x", "-1x", "infx", "x"] {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
        }
    }
}
