//! The load generator: many devices on one thread, as cheap per message as a client can be, since
//! it shares the machine with the server that it measures.
//!
//! Half of the devices (or `--alert-share`) send temperatures that raise and clear an alert in
//! turn, so that each of their messages causes exactly one alert; the number of the message is in
//! the decimals of its temperature, by which the alert is matched with the publish that caused it.

mod board;
mod device;
mod report;
mod subscriber;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use gnomon_tests::packet::Version;
use gnomon_tests::process;
use tokio::task::{JoinSet, LocalSet, spawn_local};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::board::{Board, Shared};
use crate::device::{Device, Plan};
use crate::report::Report;

/// Connections that are opened at a time: a listener's backlog is short.
const OPENING_MAX: usize = 64;
/// Messages of a connection that may be unacknowledged, when paced and when not.
const WINDOW: (u16, u16) = (4, 32);
/// How long nothing may arrive at the end before what is missing counts as lost.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Publishes telemetry as many devices and measures how long alerts take.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the server listens for MQTT
    #[arg(long)]
    addr: SocketAddr,
    /// How many devices, one connection each
    #[arg(long, default_value_t = 1000)]
    devices: u32,
    /// Messages per second of all devices together, or `max`
    #[arg(long, default_value = "10000", value_parser = rate)]
    rate: Rate,
    /// How long to send
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Product of the devices; it must have coldroom's properties and its rule `too_warm`
    #[arg(long, default_value = "coldroom")]
    product: String,
    /// Share of the devices whose messages cause alerts
    #[arg(long, default_value_t = 0.5)]
    alert_share: f64,
    /// MQTT version: 3 or 5
    #[arg(long, default_value = "3", value_parser = version)]
    version: Version,
    /// Messages of a connection that may be unacknowledged [default: 4 paced, 32 unpaced]
    #[arg(long)]
    window: Option<u16>,
    /// Connect without user names
    #[arg(long)]
    anonymous: bool,
    /// The server's process, to measure its processor time and memory
    #[arg(long)]
    pid: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How fast to send.
#[derive(Debug, Clone, Copy)]
enum Rate {
    /// As fast as the windows allow.
    Unpaced,
    /// Messages per second of all devices together.
    Paced(u32),
}

fn rate(text: &str) -> Result<Rate, std::num::ParseIntError> {
    match text {
        "max" => Ok(Rate::Unpaced),
        number => number.parse().map(Rate::Paced),
    }
}

fn version(text: &str) -> Result<Version, String> {
    match text {
        "3" | "3.1.1" => Ok(Version::V311),
        "5" => Ok(Version::V5),
        other => Err(format!("`{other}` is neither 3 nor 5")),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let report = runtime.and_then(|runtime| LocalSet::new().block_on(&runtime, load(&arguments)));
    match report {
        Ok(report) => {
            println!("{}", if arguments.json { report.json() } else { report.text() });
            if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("load: {}: {error}", arguments.addr);
            ExitCode::FAILURE
        }
    }
}

async fn load(arguments: &Arguments) -> io::Result<Report> {
    let alerting = (f64::from(arguments.devices) * arguments.alert_share).round() as u32;
    let (paced, window) = match arguments.rate {
        Rate::Paced(_) => (true, WINDOW.0),
        Rate::Unpaced => (false, WINDOW.1),
    };
    let plan = Rc::new(Plan {
        server: arguments.addr,
        version: arguments.version,
        product: arguments.product.clone(),
        named: !arguments.anonymous,
        alerting,
        window: arguments.window.unwrap_or(window),
        paced,
    });
    let board = Board::shared(arguments.devices as usize);
    let alerts = subscriber::subscribe(&plan).await?;
    spawn_local(subscriber::follow(alerts, plan.clone(), board.clone()));
    let devices = open(&plan, &board, arguments.devices).await?;
    let before = measured(arguments.pid);
    let own_before = process::cpu_time(std::process::id());
    let sending = send(arguments, &devices, &board).await;
    settle(&board).await;
    let server_cpu = measured(arguments.pid).zip(before).map(|(after, before)| after - before);
    let own_cpu = process::cpu_time(std::process::id()).zip(own_before).map(|(a, b)| a - b);
    let memory_kib = arguments.pid.and_then(process::memory_kib);
    let board = board.borrow();
    Ok(Report::new(&board, arguments, alerting, sending, server_cpu, own_cpu, memory_kib))
}

fn measured(pid: Option<u32>) -> Option<Duration> {
    pid.and_then(process::cpu_time)
}

/// Connects all devices, and starts to read what each is answered.
async fn open(plan: &Rc<Plan>, board: &Shared, count: u32) -> io::Result<Vec<Rc<Device>>> {
    let mut opening = JoinSet::new();
    let mut devices = Vec::with_capacity(count as usize);
    for index in 0..count {
        if opening.len() == OPENING_MAX {
            keep(&mut devices, opening.join_next().await, board)?;
        }
        opening.spawn_local(Device::open(plan.clone(), index));
    }
    while !opening.is_empty() {
        keep(&mut devices, opening.join_next().await, board)?;
    }
    Ok(devices)
}

type Opened = Option<Result<io::Result<device::Opened>, tokio::task::JoinError>>;

fn keep(devices: &mut Vec<Rc<Device>>, opened: Opened, board: &Shared) -> io::Result<()> {
    let Some(opened) = opened else { return Ok(()) };
    let (device, answers) = opened.map_err(io::Error::other)??;
    devices.push(device.clone());
    spawn_local(device.attend(answers, board.clone()));
    Ok(())
}

/// Sends for the time asked for; yields how long that really took.
async fn send(arguments: &Arguments, devices: &[Rc<Device>], board: &Shared) -> Duration {
    let start = Instant::now();
    let time = Duration::from_secs(arguments.seconds.into());
    board.borrow_mut().begin();
    match arguments.rate {
        Rate::Paced(rate) => pace(rate, time, devices, board).await,
        Rate::Unpaced => {
            devices.iter().for_each(|device| device.fill_window(board));
            tokio::time::sleep_until(start + time).await;
        }
    }
    board.borrow_mut().end();
    start.elapsed()
}

/// Gives each device its turn, evenly in time; a device that may not send yet owes the message.
async fn pace(rate: u32, time: Duration, devices: &[Rc<Device>], board: &Shared) {
    let start = Instant::now();
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut turns = devices.iter().cycle();
    let mut given = 0;
    while start.elapsed() < time {
        ticks.tick().await;
        let due = (start.elapsed().min(time).as_secs_f64() * f64::from(rate)) as u64;
        for device in turns.by_ref().take((due - given) as usize) {
            device.offer(board);
        }
        given = due;
    }
}

/// Waits until everything is acknowledged and delivered, or nothing has arrived for too long.
async fn settle(board: &Shared) {
    let mut ticks = interval(Duration::from_millis(10));
    let mut last = (Instant::now(), 0);
    while !board.borrow().is_settled() && last.0.elapsed() < SILENCE_MAX {
        ticks.tick().await;
        let arrived = board.borrow().arrived();
        if arrived != last.1 {
            last = (Instant::now(), arrived);
        }
    }
}
