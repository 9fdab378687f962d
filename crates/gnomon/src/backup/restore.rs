//! Reading a backup: all of it is checked before anything is written.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use gnomon_host::port::{Committed, SessionChange, Sessions, Store, StoreError, Write};
use gnomon_model::{DueTimes, record};
use gnomon_run::{Failure, Settings};
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};

use super::line::{Counts, FORMAT, Line, session};
use super::{Restore, files};
use crate::records::{erase_all, hex};

/// Records written at once.
const BATCH: usize = 256;

/// The lines of a file, one after the other.
struct Lines<'f> {
    path: &'f Path,
    file: BufReader<File>,
    /// Bytes of the last one.
    text: Vec<u8>,
    number: u64,
}

impl<'f> Lines<'f> {
    fn open(path: &'f Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|error| unread(path, &error))?;
        Ok(Self { path, file: BufReader::new(file), text: Vec::new(), number: 0 })
    }

    fn next(&mut self) -> Result<Option<Line>, Failure> {
        self.text.clear();
        let read = self.file.read_until(b'\n', &mut self.text);
        if read.map_err(|error| unread(self.path, &error))? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let number = self.number;
        serde_json::from_slice(&self.text)
            .map(Some)
            .map_err(|error| damaged(self.path, &format!("line {number} cannot be read: {error}")))
    }
}

fn unread(path: &Path, error: &std::io::Error) -> Failure {
    Failure::from_error(&format!("read {}", path.display()), error)
}

fn damaged(path: &Path, what: &str) -> Failure {
    let shown = path.display();
    Failure::new(format!(
        "{shown} is damaged or no backup ({what}): nothing was written; take another one"
    ))
}

/// Reads the whole file and holds it against its own last line.
pub(super) fn check(path: &Path) -> Result<Counts, Failure> {
    let (mut sha256, mut counts, mut end) = (Sha256::new(), Counts::default(), None);
    let mut devices = BTreeSet::new();
    let mut lines = Lines::open(path)?;
    while let Some(line) = lines.next()? {
        if end.is_some() {
            return Err(damaged(path, "something follows its last line"));
        }
        check_line(path, lines.number, &line)?;
        counts.add(&line);
        match line {
            Line::End { counts, sha256 } => end = Some((counts, sha256)),
            Line::Record { device, .. } if !devices.insert(device.clone()) => {
                return Err(damaged(path, &format!("{device} stands in it twice")));
            }
            Line::Backup { .. }
            | Line::Record { .. }
            | Line::Session { .. }
            | Line::Model { .. }
            | Line::Rule { .. } => sha256.update(&lines.text),
        }
    }
    let (said, sum) = end.ok_or_else(|| damaged(path, "its end is missing"))?;
    if said != counts {
        return Err(damaged(path, &format!("it has {counts}, and says {said}")));
    }
    if sum != hex(&sha256.finalize()) {
        return Err(damaged(path, "its checksum is another one"));
    }
    Ok(counts)
}

fn check_line(path: &Path, number: u64, line: &Line) -> Result<(), Failure> {
    match line {
        Line::Backup { format, .. } if number == 1 && *format == FORMAT => Ok(()),
        Line::Backup { format, build, .. } if number == 1 => Err(Failure::new(format!(
            "{} has format {format}, this build reads {FORMAT}: use gnomon {build}, which wrote it",
            path.display()
        ))),
        Line::Backup { .. } => Err(damaged(path, "it begins twice")),
        _ if number == 1 => Err(damaged(path, "its first line is missing")),
        Line::Record { document, device } if document.format != record::FORMAT => {
            Err(Failure::new(format!(
                "the record of {device} has format {}, this build reads {}: use the build that wrote it",
                document.format,
                record::FORMAT
            )))
        }
        Line::Session { client, document, pending } => {
            let found = session(client.clone(), document, pending);
            found.map(drop).ok_or_else(|| damaged(path, &format!("line {number} holds no digits")))
        }
        Line::Model { path: below, .. } | Line::Rule { path: below, .. }
            if !files::is_below(below) =>
        {
            Err(damaged(path, &format!("`{below}` leaves its folder")))
        }
        Line::Record { .. } | Line::Model { .. } | Line::Rule { .. } | Line::End { .. } => Ok(()),
    }
}

/// Owner of restored sessions, until a gateway that is there takes them over.
const GATEWAY: &str = "gateway";

/// Writes everything into a store that is empty, or is emptied first.
pub(super) async fn restore<S: Store + Sessions>(
    asked: &Restore,
    settings: &Settings,
    store: &S,
    checked: &Counts,
) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::from_error("restore", error);
    if !asked.replace {
        refuse_used(store).await?;
        refuse_other_files(&asked.file, settings)?;
    }
    erase_all(store).await.map_err(|error| failed(&error))?;
    forget_sessions(store).await.map_err(|error| failed(&error))?;
    let bar = ProgressBar::new(checked.records);
    let mut writes = Vec::with_capacity(BATCH);
    let mut lines = Lines::open(&asked.file)?;
    while let Some(line) = lines.next()? {
        match line {
            Line::Record { device, document } => {
                let due_before = DueTimes::default();
                writes.push(Write { device, expected_revision: 0, record: *document, due_before });
                if writes.len() == BATCH {
                    commit(store, &mut writes, &bar).await?;
                }
            }
            Line::Session { client, document, pending } => {
                let changes = saved(session(client, &document, &pending));
                store.change(GATEWAY, changes).await.map_err(|error| failed(&error))?;
            }
            Line::Model { path, text } => files::write(&settings.schemas, &path, &text)?,
            Line::Rule { path, text } => files::write(&settings.rules, &path, &text)?,
            Line::Backup { .. } | Line::End { .. } => {}
        }
    }
    commit(store, &mut writes, &bar).await?;
    bar.finish_and_clear();
    Ok(())
}

async fn forget_sessions<S: Sessions>(store: &S) -> Result<(), StoreError> {
    for gateway in store.gateways().await? {
        let sessions = store.load_all(&gateway).await?.into_iter();
        let forget = sessions.map(|one| SessionChange::Forget { client: one.client });
        store.change(&gateway, forget.collect()).await?;
        store.forget_gateway(&gateway).await?;
    }
    Ok(())
}

async fn commit<S: Store>(
    store: &S,
    writes: &mut Vec<Write>,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let committed = store.commit(writes).await;
    let committed = committed.map_err(|error| Failure::from_error("write records", &error))?;
    if committed.contains(&Committed::Conflict) {
        let line =
            "somebody writes records at the same time: stop it, and restore again with --replace";
        return Err(Failure::new(line));
    }
    bar.inc(writes.len() as u64);
    writes.clear();
    Ok(())
}

fn saved(session: Option<gnomon_host::port::SavedSession>) -> Vec<SessionChange> {
    let Some(session) = session else { return Vec::new() };
    let client = session.client;
    let mut changes =
        vec![SessionChange::Save { client: client.clone(), document: session.document }];
    changes.extend(session.pending.into_iter().map(|(key, message)| SessionChange::Keep {
        client: client.clone(),
        key,
        message,
    }));
    changes
}

async fn refuse_used<S: Store + Sessions>(store: &S) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::from_error("look into the store", error);
    let records = store.list(None, None, 1).await.map_err(|error| failed(&error))?.devices;
    let mut is_empty = records.is_empty();
    for gateway in store.gateways().await.map_err(|error| failed(&error))? {
        let sessions = store.load_all(&gateway).await.map_err(|error| failed(&error))?;
        is_empty &= sessions.is_empty();
    }
    if is_empty {
        return Ok(());
    }
    Err(Failure::new(
        "the store is not empty: --replace removes what it has and restores the backup",
    ))
}

fn refuse_other_files(path: &Path, settings: &Settings) -> Result<(), Failure> {
    let mut lines = Lines::open(path)?;
    while let Some(line) = lines.next()? {
        let (folder, path, text) = match &line {
            Line::Model { path, text } => (&settings.schemas, path, text),
            Line::Rule { path, text } => (&settings.rules, path, text),
            Line::Backup { .. } | Line::Record { .. } | Line::Session { .. } | Line::End { .. } => {
                continue;
            }
        };
        if files::differs(folder, path, text) {
            let shown = folder.join(path);
            return Err(Failure::new(format!(
                "{} differs from the backup: move it away, or overwrite it with --replace",
                shown.display()
            )));
        }
    }
    Ok(())
}
