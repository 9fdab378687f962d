//! `gnomon backup` and `gnomon restore`: records, sessions, models and rules in one file.
//!
//! The file: lines of JSON, UTF-8. The first one is the head with the format's number; then a line for
//! each record, session, model and rule; the last one has the counts, and the SHA-256 of all bytes
//! before it. What the queue holds is not in it.

mod files;
mod line;
mod restore;
mod write;

use std::path::PathBuf;

use clap::Args;
use gnomon_run::ports::Ports;
use gnomon_run::{Failure, Flags, Settings};

use crate::rebuild::refuse_workers;

/// Which deployment, and where to.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The file to write; it must not exist
    file: PathBuf,
    #[command(flatten)]
    flags: Flags,
}

/// Which deployment, and what from.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// What `gnomon backup` wrote
    file: PathBuf,
    /// Replace what is there: all records and sessions, and models and rules that differ
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Runs `gnomon backup`.
pub(crate) fn backup(asked: &Backup) -> Result<(), Failure> {
    let settings = Settings::load(&asked.flags)?;
    let done = on_ports(&settings, async |ports| match ports {
        Ports::Embedded(embedded) => write::write(&asked.file, &settings, embedded).await,
        Ports::Remote(_, store) => write::write(&asked.file, &settings, store).await,
    })?;
    println!("{done}  in {}", asked.file.display());
    Ok(())
}

/// Runs `gnomon restore`. The file is read twice: nothing is written before all of it is known good.
pub(crate) fn restore(asked: &Restore) -> Result<(), Failure> {
    let settings = Settings::load(&asked.flags)?;
    let checked = restore::check(&asked.file)?;
    on_ports(&settings, async |ports| match ports {
        Ports::Embedded(embedded) => restore::restore(asked, &settings, embedded, &checked).await,
        Ports::Remote(queue, store) => {
            refuse_workers(queue).await?;
            restore::restore(asked, &settings, store, &checked).await
        }
    })?;
    println!("{checked}  restored");
    println!("now `gnomon rebuild` applies what the queue has taken since");
    Ok(())
}

fn on_ports<T>(
    settings: &Settings,
    run: impl AsyncFnOnce(&Ports) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Runtime::new();
    let runtime = runtime.map_err(|error| Failure::from_error("start", &error))?;
    runtime.block_on(async {
        let ports = Ports::open(settings).await?;
        let done = run(&ports).await;
        if let Ports::Embedded(embedded) = &ports {
            embedded.close().await;
        }
        done
    })
}
