//! Writing a backup.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use gnomon_host::port::{Sessions, Store};
use gnomon_host::watch::now_ms;
use gnomon_run::{Failure, Settings};
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};

use super::files;
use super::line::{Counts, FORMAT, Line, of_session};
use crate::records::{hex, page};

/// Lines on their way into the file.
struct Lines {
    out: BufWriter<File>,
    sha256: Sha256,
    counts: Counts,
}

impl Lines {
    fn push(&mut self, line: &Line) -> std::io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.counts.add(line);
        self.sha256.update(&text);
        self.out.write_all(&text)
    }
}

/// Writes everything under another name first, so that a file of that name is always whole.
pub(super) async fn write<S: Store + Sessions>(
    path: &Path,
    settings: &Settings,
    store: &S,
) -> Result<Counts, Failure> {
    let shown = path.display();
    let fault = |error: std::io::Error| Failure::from_error(&format!("write {shown}"), &error);
    if path.exists() {
        return Err(Failure::new(format!("{shown} exists: name another file, or move it away")));
    }
    let draft = path.with_added_extension("partial");
    let out = BufWriter::new(File::create(&draft).map_err(fault)?);
    let mut lines = Lines { out, sha256: Sha256::new(), counts: Counts::default() };
    let build = env!("CARGO_PKG_VERSION").to_owned();
    let head = Line::Backup { format: FORMAT, build, made_at_ms: now_ms() };
    lines.push(&head).map_err(fault)?;
    write_files(&mut lines, settings, fault)?;
    write_records(&mut lines, store, fault).await?;
    let failed = |error| Failure::from_error("read sessions", &error);
    for gateway in store.gateways().await.map_err(failed)? {
        for session in store.load_all(&gateway).await.map_err(failed)? {
            lines.push(&of_session(&session)).map_err(fault)?;
        }
    }
    let Lines { mut out, sha256, counts } = lines;
    let end = Line::End { counts, sha256: hex(&sha256.finalize()) };
    let text = serde_json::to_string(&end).map_err(|error| fault(error.into()))?;
    writeln!(out, "{text}").map_err(fault)?;
    let file = out.into_inner().map_err(|error| fault(error.into_error()))?;
    file.sync_all().and_then(|()| fs::rename(&draft, path)).map_err(fault)?;
    Ok(counts)
}

fn write_files(
    lines: &mut Lines,
    settings: &Settings,
    fault: impl Fn(std::io::Error) -> Failure,
) -> Result<(), Failure> {
    for (path, text) in files::read(&settings.schemas, "json")? {
        lines.push(&Line::Model { path, text }).map_err(&fault)?;
    }
    for (path, text) in files::read(&settings.rules, "rhai")? {
        lines.push(&Line::Rule { path, text }).map_err(&fault)?;
    }
    Ok(())
}

async fn write_records<S: Store>(
    lines: &mut Lines,
    store: &S,
    fault: impl Fn(std::io::Error) -> Failure,
) -> Result<(), Failure> {
    let bar = ProgressBar::new_spinner();
    let mut after = None;
    loop {
        let some = page(store, after.as_ref()).await;
        let some = some.map_err(|error| Failure::from_error("read records", &error))?;
        let Some((last, _)) = some.last() else { break };
        after = Some(last.clone());
        for (device, stored) in some {
            let document = Box::new(stored.record);
            lines.push(&Line::Record { device, document }).map_err(&fault)?;
        }
        bar.set_message(format!("{} records", lines.counts.records));
        bar.tick();
    }
    bar.finish_and_clear();
    Ok(())
}
