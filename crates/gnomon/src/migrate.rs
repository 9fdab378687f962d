//! `gnomon migrate`: what an older build left, brought to the format of this one.

use clap::Args;
use gnomon_adapters::{embedded, redis};
use gnomon_host::migrate::{Asked, Done, GATEWAY, Migration, Migrations, Tally, migrate as run};
use gnomon_host::port::Queue;
use gnomon_host::port::migrate::{Format, Migrate as Store, Standing};
use gnomon_run::ports::Ports;
use gnomon_run::{Failure, Flags, Settings};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::rebuild::{refuse_members, refuse_workers};

/// Who works on sessions, the downlink log and what is due, beside the workers.
const OTHERS: [&str; 3] = [gnomon_gateway::GROUP, gnomon_bridge::LINE, gnomon_timer::GROUP];

/// Which deployment, and how far to go.
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    flags: Flags,
    /// Count what would change; the store stays as it is
    #[arg(long)]
    dry_run: bool,
    /// Print JSON, for machines
    #[arg(long)]
    json: bool,
}

/// Runs `gnomon migrate`.
pub(crate) fn migrate(asked: &Migrate) -> Result<(), Failure> {
    let settings = Settings::load(&asked.flags)?;
    let reader = match settings.broker {
        Some(_) => format!("bridge-{}", settings.broker_group),
        None => gnomon_host::downlink::reader(GATEWAY),
    };
    let runtime = tokio::runtime::Runtime::new();
    let runtime = runtime.map_err(|error| Failure::from_error("start", &error))?;
    runtime.block_on(async {
        match Ports::open_to_migrate(&settings).await? {
            Ports::Embedded(store) => {
                let list = embedded::MIGRATIONS;
                let done = on_store(asked, &reader, &list, &store, &store).await;
                store.close().await;
                done
            }
            Ports::Remote(queue, store) => {
                on_store(asked, &reader, &redis::MIGRATIONS, &queue, &store).await
            }
        }
    })
}

async fn on_store<Q: Queue, S: Store>(
    asked: &Migrate,
    reader: &str,
    list: &Migrations,
    queue: &Q,
    store: &S,
) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::from_error("migrate", error);
    if !asked.dry_run {
        refuse_workers(queue).await?;
        refuse_members(queue, &OTHERS).await?;
        refuse_members(queue, &[reader]).await?;
    }
    let before = store.standing().await.map_err(|error| failed(&error))?;
    let bar = ProgressBar::new_spinner();
    let told = |migration: &Migration, tally: &Tally| {
        let Tally { looked_at, sessions, .. } = tally;
        let (number, name) = (migration.number, migration.name);
        bar.set_message(format!("{number} {name}: {looked_at} records, {sessions} sessions"));
        bar.tick();
    };
    let build = env!("CARGO_PKG_VERSION");
    let how = Asked { dry_run: asked.dry_run, reader, build };
    let done = run(queue, store, list, how, told).await;
    bar.finish_and_clear();
    let done = done.map_err(|error| failed(&error))?;
    let after = store.standing().await.map_err(|error| failed(&error))?;
    print(asked, &before.format, &after, &done);
    Ok(())
}

fn print(asked: &Migrate, before: &Format, after: &Standing, done: &[Done]) {
    if asked.json {
        println!("{:#}", document(asked.dry_run, before, after, done));
        return;
    }
    let would = if asked.dry_run { "would change" } else { "changed" };
    for Done { migration, tally } in done {
        println!("{} {}: {}", migration.number, migration.name, migration.changes);
        for (what, count) in counts(tally) {
            println!("  {count} {what} {would}");
        }
        if tally.unreadable > 0 {
            println!("  {} records cannot be read; they stay as they are", tally.unreadable);
        }
    }
    println!("format {}", after.format);
    if done.is_empty() {
        println!("nothing to migrate");
    }
}

fn counts(tally: &Tally) -> [(&'static str, u64); 4] {
    [
        ("records", tally.records),
        ("sessions", tally.sessions),
        ("due entries", tally.due),
        ("acknowledgements", tally.acknowledgements),
    ]
}

fn document(dry_run: bool, before: &Format, after: &Standing, done: &[Done]) -> Value {
    let one = |Done { migration, tally }: &Done| {
        json!({
            "number": migration.number, "name": migration.name, "changes": migration.changes,
            "records": tally.records, "sessions": tally.sessions, "due": tally.due,
            "acknowledgements": tally.acknowledgements, "unreadable": tally.unreadable,
        })
    };
    json!({
        "dry_run": dry_run, "before": before.to_string(), "format": after.format.to_string(),
        "migrations": done.iter().map(one).collect::<Vec<_>>(), "applied": after.applied,
    })
}
