//! A function as a process.

use std::process::ExitCode;

use clap::Parser;
use gnomon_adapters::{Nats, Redis};
use gnomon_host::function::Function;
use gnomon_host::share::work_share;
use gnomon_host::watch::Watch;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::ports::Ports;
use crate::{Failure, Flags, Settings, Shelf, logging};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One function of Gnomon as a process of its own, on NATS and Redis.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
}

/// Runs one function until Ctrl-C or SIGTERM, then finishes the batch at hand; the whole `main` of a
/// function's program. Several processes share the partitions of its stream among them.
pub fn function<F: Function + 'static>(
    make: impl Fn(&Shelf, &Settings) -> F + Clone + Send + Sync + 'static,
) -> ExitCode {
    start(async |settings| work(settings, make).await)
}

/// What a program that is no function may fail with.
pub type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// What a program that is no function stands on.
pub struct Program {
    /// Its name, such as `timer`.
    pub name: &'static str,
    /// Its settings.
    pub settings: Settings,
    /// The queue.
    pub queue: Nats,
    /// The store.
    pub store: Redis,
    /// Cancelled when it is to end.
    pub stop: CancellationToken,
}

impl Program {
    /// Says on standard output that it works, and what it does: `runs`.
    pub fn ready(&self, what: &str) {
        println!("{} {what} (Ctrl-C stops)", self.name);
    }
}

/// Runs something that needs the queue only, until Ctrl-C or SIGTERM; the whole `main` of its program.
pub fn on_queue<R>(
    name: &'static str,
    run: impl FnOnce(Settings, Nats, CancellationToken) -> R,
) -> ExitCode
where
    R: Future<Output = Result<(), AnyError>> + Send + 'static,
{
    on_ports(name, |program| {
        program.ready("runs");
        run(program.settings, program.queue, program.stop)
    })
}

/// Runs something that is no function until Ctrl-C or SIGTERM; the whole `main` of its program, which
/// says itself when it is [`Program::ready`].
pub fn on_ports<R>(name: &'static str, run: impl FnOnce(Program) -> R) -> ExitCode
where
    R: Future<Output = Result<(), AnyError>> + Send + 'static,
{
    start(async |settings| {
        let Ports::Remote(queue, store) = Ports::open(&settings).await? else {
            return Err(one_process());
        };
        let stop = CancellationToken::new();
        let program = Program { name, settings, queue, store, stop: stop.clone() };
        let mut running = tokio::spawn(run(program));
        let ended = tokio::select! {
            () = stop_signal() => {
                info!("stopping");
                stop.cancel();
                running.await
            }
            ended = &mut running => ended,
        };
        let ended = ended.map_err(|error| Failure::from_error(name, &error))?;
        ended.map_err(|error| Failure::from_error(name, &*error))
    })
}

fn start(run: impl AsyncFnOnce(Settings) -> Result<(), Failure>) -> ExitCode {
    let flags = Arguments::parse().flags;
    report(Settings::load(&flags).and_then(|settings| {
        logging::start();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::from_error("start", &error))?;
        runtime.block_on(run(settings))
    }))
}

fn one_process() -> Failure {
    Failure::new(
        "a program of its own needs --queue nats://… and --store redis://…: the embedded store is for \
         one process, `gnomon run`",
    )
}

async fn work<F: Function + 'static>(
    settings: Settings,
    make: impl Fn(&Shelf, &Settings) -> F + Clone + Send + Sync + 'static,
) -> Result<(), Failure> {
    let Ports::Remote(queue, store) = Ports::open(&settings).await? else {
        return Err(one_process());
    };
    let shelf = Shelf::open(settings.schemas.clone(), settings.rules.clone());
    for problem in shelf.problems() {
        tracing::warn!(problem, "kept out");
    }
    let stop = CancellationToken::new();
    let reloading = tokio::spawn(shelf.clone().watch(stop.clone()));
    let function = move || make(&shelf, &settings);
    let working = work_share(function, unique(), store, queue, Watch::default(), stop.clone());
    let working = tokio::spawn(working);
    println!("{} works on partitions of {} (Ctrl-C stops)", F::NAME, F::STREAM.as_str());
    stop_signal().await;
    info!("stopping: finishing the batch at hand");
    stop.cancel();
    let _ = tokio::join!(working, reloading);
    info!("stopped");
    Ok(())
}

/// Tells a person what went wrong, if anything; the process's exit code.
#[must_use]
pub fn report(done: Result<(), Failure>) -> ExitCode {
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

/// Waits for Ctrl-C or SIGTERM.
pub async fn stop_signal() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// A name that no other process has.
#[must_use]
pub fn unique() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}
