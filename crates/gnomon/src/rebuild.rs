//! `gnomon rebuild`: the records, made again from the queue.

use clap::Args;
use gnomon_adapters::Memory;
use gnomon_alert::Alerts;
use gnomon_host::function::Function;
use gnomon_host::port::{Queue, Sessions, Store, Stored, Stream};
use gnomon_host::replay::{Again, Replayed, Steps, cut_logs, replay, step_again};
use gnomon_host::steps::{Input, Source};
use gnomon_model::Waits;
use gnomon_rrpc::Rrpc;
use gnomon_run::ports::Ports;
use gnomon_run::{Failure, Flags, Settings, Shelf};
use gnomon_shadow::Shadow;
use gnomon_telemetry::Telemetry;
use indicatif::ProgressBar;

use crate::records::{copy, digest};

/// Which deployment, and how far to go.
#[derive(Debug, Args)]
pub(crate) struct Rebuild {
    #[command(flatten)]
    flags: Flags,
    /// Replay into memory and print what would come out; the store stays as it is
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: begin with no records at all, instead of with those of the store
    #[arg(long, requires = "dry_run")]
    as_if_empty: bool,
    /// Go on although the queue no longer has what it began with
    #[arg(long)]
    partial: bool,
    /// Go on although workers are there, which write the same records
    #[arg(long)]
    while_working: bool,
    /// Print JSON, for machines
    #[arg(long)]
    json: bool,
}

/// Runs `gnomon rebuild`.
pub(crate) fn rebuild(rebuild: &Rebuild) -> Result<(), Failure> {
    let settings = Settings::load(&rebuild.flags)?;
    let shelf = Shelf::open(settings.schemas.clone(), settings.rules.clone());
    if let Some(problem) = shelf.problems().into_iter().next() {
        let line = format!("{problem}: mend it first, or the records will be others");
        return Err(Failure::new(line));
    }
    let runtime = tokio::runtime::Runtime::new();
    let runtime = runtime.map_err(|error| Failure::from_error("start", &error))?;
    let waits = settings.waits();
    runtime.block_on(async {
        match Ports::open(&settings).await? {
            Ports::Embedded(embedded) => {
                let done = run(rebuild, &shelf, waits, &embedded, &embedded).await;
                embedded.close().await;
                done
            }
            Ports::Remote(queue, store) => run(rebuild, &shelf, waits, &queue, &store).await,
        }
    })
}

async fn run<Q: Queue, S: Store + Sessions>(
    asked: &Rebuild,
    shelf: &Shelf,
    waits: Waits,
    queue: &Q,
    store: &S,
) -> Result<(), Failure> {
    if !asked.while_working && !asked.dry_run {
        refuse_workers(queue).await?;
    }
    let failed = |error: &dyn std::error::Error| Failure::from_error("rebuild", error);
    let page = store.list(None, None, 1).await.map_err(|error| failed(&error))?;
    let empty = asked.as_if_empty || page.devices.is_empty();
    if empty && !asked.partial {
        refuse_cut(queue).await?;
    }
    let functions = Functions::new(shelf, waits);
    let bar = ProgressBar::new_spinner();
    let told = |inputs| bar.set_message(format!("{inputs} inputs"));
    let (replayed, records, sha256) = if asked.dry_run {
        let memory = Memory::new(1);
        if !asked.as_if_empty {
            copy(store, &memory).await.map_err(|error| failed(&error))?;
        }
        let replayed = replay(queue, &memory, &functions, told).await;
        let (records, sha256) = digest(&memory).await.map_err(|error| failed(&error))?;
        (replayed.map_err(|error| failed(&error))?, records, sha256)
    } else {
        let replayed = replay(queue, store, &functions, told).await;
        let replayed = replayed.map_err(|error| failed(&error))?;
        let (records, sha256) = digest(store).await.map_err(|error| failed(&error))?;
        (replayed, records, sha256)
    };
    bar.finish_and_clear();
    print(asked, replayed, records, &sha256);
    Ok(())
}

fn print(asked: &Rebuild, replayed: Replayed, records: u64, sha256: &str) {
    let Replayed { inputs, changed, known } = replayed;
    if asked.json {
        let document = serde_json::json!({
            "dry_run": asked.dry_run, "inputs": inputs, "changed": changed, "known": known,
            "records": records, "sha256": sha256,
        });
        println!("{document:#}");
        return;
    }
    let would = if asked.dry_run { "would change" } else { "changed" };
    println!(
        "inputs   {inputs}  ({changed} {would} a record, {known} were in the records already)"
    );
    println!("records  {records}");
    println!("sha256   {sha256}");
}

/// Fails if somebody works on the records.
pub(crate) async fn refuse_workers<Q: Queue>(queue: &Q) -> Result<(), Failure> {
    refuse_members(queue, &[Telemetry::NAME, Shadow::NAME, Rrpc::NAME, Alerts::NAME]).await
}

/// Fails if a member of one of these groups is there.
pub(crate) async fn refuse_members<Q: Queue>(queue: &Q, groups: &[&str]) -> Result<(), Failure> {
    for group in groups {
        let members = queue.roster(group).await;
        let members = members.map_err(|error| Failure::from_error("see who works", &error))?;
        if !members.is_empty() {
            return Err(Failure::new(format!(
                "{} workers of {group} are there: stop them first (one that died is missed after four seconds)",
                members.len()
            )));
        }
    }
    Ok(())
}

/// Fails if the queue has lost its beginning, so that records would lack what stood there.
async fn refuse_cut<Q: Queue>(queue: &Q) -> Result<(), Failure> {
    let cut = cut_logs(queue).await;
    let cut = cut.map_err(|error| Failure::from_error("look at the queue", &error))?;
    if cut.is_empty() {
        return Ok(());
    }
    let mut lines = vec![
        "there are no records, and the queue no longer has all that made them: restore a backup first, or \
         take what is left with --partial"
            .to_owned(),
    ];
    let missing = |(log, first): (gnomon_host::port::Log, u64)| {
        format!("{log} begins at {first}: {} messages are missing", first - 1)
    };
    lines.extend(cut.into_iter().map(missing));
    Err(Failure(lines))
}

/// The functions that make records, with the models and rules of now.
struct Functions {
    telemetry: Telemetry,
    shadow: Shadow,
    rrpc: Rrpc,
    alerts: Alerts,
}

impl Functions {
    fn new(shelf: &Shelf, waits: Waits) -> Self {
        Self {
            telemetry: Telemetry { models: shelf.models(), rules: shelf.rules(), waits },
            shadow: Shadow { models: shelf.models(), rules: shelf.rules(), waits },
            rrpc: Rrpc { models: shelf.models() },
            alerts: Alerts { waits },
        }
    }
}

impl Steps for Functions {
    fn step(&self, stream: Stream, source: &Source, input: &Input, stored: Stored) -> Again {
        match stream {
            Stream::Telemetry => step_again(&self.telemetry, source, input, stored),
            Stream::Shadow => step_again(&self.shadow, source, input, stored),
            Stream::Calls => step_again(&self.rrpc, source, input, stored),
            Stream::Alerts => step_again(&self.alerts, source, input, stored),
            Stream::Downlink | Stream::Answers | Stream::Dead => {
                Again { stored, changed: false, known: false }
            }
        }
    }
}
