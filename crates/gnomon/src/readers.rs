//! `gnomon readers`: who reads the downlink log on NATS. A message stays until all of them are done
//! with it, so one that will never come again must be dropped by somebody who knows that.

use clap::{Args, Subcommand};
use gnomon_host::port::{Log, Queue, Stream};
use gnomon_run::ports::Ports;
use gnomon_run::{Failure, Flags, Settings};
use serde_json::json;

use crate::table::{Side, Table};

/// The log that several read.
const DOWNLINK: Log = Log { stream: Stream::Downlink, partition: 0 };

/// Which deployment, and what to do.
#[derive(Debug, Args)]
pub(crate) struct Readers {
    #[command(flatten)]
    flags: Flags,
    /// Print JSON, for machines
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Forget readers; messages no longer wait for them
    Drop {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// Runs `gnomon readers`.
pub(crate) fn readers(asked: &Readers) -> Result<(), Failure> {
    let settings = Settings::load(&asked.flags)?;
    let runtime = tokio::runtime::Runtime::new();
    let runtime = runtime.map_err(|error| Failure::from_error("start", &error))?;
    runtime.block_on(async {
        let Ports::Remote(queue, _) = Ports::open(&settings).await? else {
            return Err(Failure::new(
                "the embedded store has one reader, the process that has it open: give --queue nats://…",
            ));
        };
        let found = find(&queue).await?;
        match &asked.verb {
            Some(Verb::Drop { names }) => drop_all(&queue, &found, names).await,
            None if asked.json => {
                let one = |found: &Found| json!({ "name": found.name, "present": found.is_there });
                println!("{:#}", json!(found.iter().map(one).collect::<Vec<_>>()));
                Ok(())
            }
            None => {
                println!("{}", laid_out(&found));
                Ok(())
            }
        }
    })
}

/// A reader, and whether somebody reads as it now.
struct Found {
    name: String,
    is_there: bool,
}

async fn find(queue: &impl Queue) -> Result<Vec<Found>, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::from_error("list readers", error);
    let names = queue.readers(DOWNLINK).await.map_err(|error| failed(&error))?;
    let gateways = queue.roster("gateway").await.map_err(|error| failed(&error))?;
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let is_there = match name.strip_prefix("gateway-") {
            Some(gateway) => gateways.iter().any(|one| one == gateway),
            // Bridges that share a reader stand in a line of its name.
            None => !queue.roster(&name).await.map_err(|error| failed(&error))?.is_empty(),
        };
        found.push(Found { name, is_there });
    }
    Ok(found)
}

async fn drop_all(queue: &impl Queue, found: &[Found], names: &[String]) -> Result<(), Failure> {
    let mut lines = Vec::new();
    for name in names {
        match found.iter().find(|one| one.name == *name) {
            None => lines.push(format!("there is no reader `{name}`: `gnomon readers` lists them")),
            Some(one) if one.is_there => {
                lines.push(format!("`{name}` is there and reads: stop it first"));
            }
            Some(_) => match queue.retire(DOWNLINK, name).await {
                Ok(()) => println!("{name} is forgotten"),
                Err(error) => lines.push(format!("drop `{name}`: {error}")),
            },
        }
    }
    if lines.is_empty() { Ok(()) } else { Err(Failure(lines)) }
}

fn laid_out(found: &[Found]) -> String {
    if found.is_empty() {
        return "nobody reads the downlink".to_owned();
    }
    let mut table = Table::new([("reader", Side::Left), ("", Side::Left)]);
    for one in found {
        table.row([one.name.clone(), if one.is_there { "is there" } else { "is gone" }.to_owned()]);
    }
    table.to_string()
}
