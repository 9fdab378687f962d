//! Brings what an older build left to the format of this one: migrations as data, and how they run.
//!
//! Invariants: every part of a migration may be done again without harm, since what is done already
//! is seen in what it changes; so a migration that was cut off anywhere goes on at its cursor. In a
//! dry run nothing is written.
//! See: docs/decisions/2026-11-24-migrations.md

use bytes::Bytes;
use gnomon_model::{DeviceKey, Object};

use crate::port::migrate::{Applied, Cursor, Format, Migrate, Raw};
use crate::port::{Log, Queue, QueueError, StoreError, Stream};
use crate::watch::now_ms;

/// Records or sessions that are changed at once.
const PAGE: usize = 256;
/// The gateway that had all sessions before there were several.
pub const GATEWAY: &str = "gateway";

/// One migration: from a format to the next.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// The format that it leads to, from the one before.
    pub number: u32,
    /// A few words with dashes.
    pub name: &'static str,
    /// What it changes, for people.
    pub changes: &'static str,
    /// What is done, in order.
    pub parts: &'static [Part],
}

/// What is done to a store or its queue.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// Changes the document of each record that has the format `from`; its number is then one more.
    /// If that changes what is due in it, `Due` has to follow.
    Records {
        /// Number that a document has before ([`gnomon_model::record::FORMAT`] of then).
        from: u32,
        /// A pure function; the text says why a document cannot be changed.
        change: fn(&mut Object) -> Result<(), String>,
    },
    /// Enters what is due in records into the index of what is due.
    Due,
    /// Gives sessions that are no gateway's to [`GATEWAY`].
    Sessions,
    /// Makes what the one consumer of the downlink log has acknowledged that of the gateway
    /// [`GATEWAY`], from which others take over.
    Downlink,
}

/// All migrations of a kind of store, in order.
#[derive(Debug, Clone, Copy)]
pub struct Migrations {
    /// The oldest format that they begin with.
    pub base: u32,
    /// The first one leads to `base` + 1, and so on.
    pub list: &'static [Migration],
}

impl Migrations {
    /// The format that this build reads and writes.
    #[must_use]
    pub const fn newest(&self) -> u32 {
        match self.list.last() {
            Some(last) => last.number,
            None => self.base,
        }
    }

    /// Those that a store of a format still needs; none when they do not lead on from there.
    #[must_use]
    pub fn pending(&self, format: &Format) -> Option<&'static [Migration]> {
        let (Format::At(from) | Format::Between(from, _)) = format else { return None };
        self.list.get(usize::try_from(from.checked_sub(self.base)?).ok()?..)
    }

    /// What to do about a store of another format.
    #[must_use]
    pub fn advice(&self, found: &Format) -> &'static str {
        match self.pending(found) {
            Some([_, ..]) => "stop everything and run `gnomon migrate`",
            Some([]) | None => "use the build that wrote it",
        }
    }
}

/// How to go about it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Only count what would change.
    pub dry_run: bool,
    /// Reader of the downlink log that its one consumer becomes: a gateway's, or that of a group of
    /// bridges.
    pub reader: &'a str,
    /// Version of this build.
    pub build: &'a str,
}

/// What was, or would be, changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Records looked at, as often as there are parts that look at them.
    pub looked_at: u64,
    /// Records.
    pub records: u64,
    /// Records that cannot be read or changed, left as they are.
    pub unreadable: u64,
    /// Entries of what is due.
    pub due: u64,
    /// Sessions.
    pub sessions: u64,
    /// Entries of what is acknowledged of the downlink log.
    pub acknowledgements: u64,
}

/// One migration that was, or would be, done.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// Which one.
    pub migration: &'static Migration,
    /// What it changed, in this run.
    pub tally: Tally,
}

/// Why a store was not migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// It has a format that no migration begins with.
    #[error("the store has format {found}, this build reads {newest}: use the build that wrote it")]
    Format {
        /// Its format.
        found: Format,
        /// The format of this build.
        newest: u32,
    },
    /// The store failed; run it again.
    #[error("{0}; run `gnomon migrate` again, it goes on where it was")]
    Store(#[from] StoreError),
    /// The queue failed; run it again.
    #[error("{0}; run `gnomon migrate` again, it goes on where it was")]
    Queue(#[from] QueueError),
}

/// Does all migrations that the store needs; `told` after each page of records or sessions.
///
/// # Errors
/// No migration begins with the store's format; store or queue failed.
pub async fn migrate<Q: Queue, S: Migrate>(
    queue: &Q,
    store: &S,
    migrations: &Migrations,
    asked: Asked<'_>,
    mut told: impl FnMut(&Migration, &Tally),
) -> Result<Vec<Done>, MigrateError> {
    let standing = store.standing().await?;
    let found = standing.format;
    let Some(pending) = migrations.pending(&found) else {
        return Err(MigrateError::Format { found, newest: migrations.newest() });
    };
    let mut cursor = standing.cursor.filter(|_| matches!(found, Format::Between(..)));
    let mut all = Vec::with_capacity(pending.len());
    for migration in pending {
        let number = migration.number;
        let from = cursor.take().filter(|cursor| cursor.number == number);
        if from.is_none() && !asked.dry_run {
            store.begin(number - 1, number).await?;
        }
        let cursor = from.unwrap_or(Cursor { number, part: 0, after: None });
        let mut run = Run { queue, store, asked, cursor, tally: Tally::default() };
        run.parts(migration, &mut told).await?;
        all.push(Done { migration, tally: run.tally });
        if !asked.dry_run {
            let (name, build) = (migration.name.to_owned(), asked.build.to_owned());
            store.finish(&Applied { number, name, at_ms: Some(now_ms()), build }).await?;
        }
    }
    Ok(all)
}

/// One migration at work.
struct Run<'a, Q, S> {
    queue: &'a Q,
    store: &'a S,
    asked: Asked<'a>,
    cursor: Cursor,
    tally: Tally,
}

impl<Q: Queue, S: Migrate> Run<'_, Q, S> {
    async fn parts(
        &mut self,
        migration: &Migration,
        told: &mut impl FnMut(&Migration, &Tally),
    ) -> Result<(), MigrateError> {
        while let Some(part) = migration.parts.get(self.cursor.part) {
            while let Some(last) = self.page(*part).await? {
                self.cursor.after = Some(last);
                self.note().await?;
                told(migration, &self.tally);
            }
            self.cursor.part += 1;
            self.cursor.after = None;
            self.note().await?;
        }
        Ok(())
    }

    async fn note(&self) -> Result<(), StoreError> {
        if self.asked.dry_run {
            return Ok(());
        }
        self.store.note(&self.cursor).await
    }

    /// Does the next page of a part; its last key, or none when the part is done.
    async fn page(&mut self, part: Part) -> Result<Option<String>, MigrateError> {
        let dry_run = self.asked.dry_run;
        match part {
            Part::Records { from, change } => {
                let rows = self.rows().await?;
                let rewritten = self.change(&rows, from, change);
                if !dry_run {
                    self.store.rewrite(&rewritten).await?;
                }
                Ok(rows.last().map(|row| row.device.to_string()))
            }
            Part::Due => {
                let rows = self.rows().await?;
                self.tally.due += self.store.enter_due_of(&rows, dry_run).await?;
                Ok(rows.last().map(|row| row.device.to_string()))
            }
            Part::Sessions => {
                let after = self.cursor.after.as_deref();
                let looked = self.store.adopt_sessions(after, PAGE, GATEWAY, dry_run).await?;
                self.tally.sessions += looked.changed;
                Ok(looked.last)
            }
            Part::Downlink => {
                let log = Log { stream: Stream::Downlink, partition: 0 };
                let had = self.queue.name_reader(log, self.asked.reader, dry_run).await?;
                self.tally.acknowledgements += u64::from(had);
                Ok(None)
            }
        }
    }

    async fn rows(&mut self) -> Result<Vec<Raw>, StoreError> {
        let after = self.cursor.after.as_deref().and_then(device);
        let rows = self.store.raw(after.as_ref(), PAGE).await?;
        self.tally.looked_at += rows.len() as u64;
        Ok(rows)
    }

    /// The rows that a change of documents concerns, with their new documents.
    fn change(
        &mut self,
        rows: &[Raw],
        from: u32,
        change: fn(&mut Object) -> Result<(), String>,
    ) -> Vec<Raw> {
        let mut rewritten = Vec::new();
        // A device may be listed whose record was never written.
        for row in rows.iter().filter(|row| !row.document.is_empty()) {
            match step(&row.document, from, change) {
                Ok(Step::Changed(document)) => {
                    rewritten.push(Raw { document: document.into(), ..row.clone() });
                }
                Ok(Step::IsNewer) => {}
                // An earlier migration, which a dry run only counts, comes before.
                Ok(Step::IsOlder) if self.asked.dry_run => self.tally.records += 1,
                // It was left as it was by an earlier one.
                Ok(Step::IsOlder) => self.tally.unreadable += 1,
                Err(reason) => {
                    tracing::warn!(device = %row.device, reason, "a record is left as it is");
                    self.tally.unreadable += 1;
                }
            }
        }
        self.tally.records += rewritten.len() as u64;
        rewritten
    }
}

fn device(key: &str) -> Option<DeviceKey> {
    let (product, device) = key.split_once('/')?;
    DeviceKey::parse(product, device).ok()
}

/// What becomes of one document.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Its new text, one format further.
    Changed(Vec<u8>),
    /// It has that format already, or a later one.
    IsNewer,
    /// It does not have the format yet that the change begins with.
    IsOlder,
}

/// Brings a document from one format to the next, if it is there.
fn step(
    document: &Bytes,
    from: u32,
    change: fn(&mut Object) -> Result<(), String>,
) -> Result<Step, String> {
    let decoded = serde_json::from_slice::<Object>(document);
    let mut document = decoded.map_err(|error| error.to_string())?;
    let format = document.get("format").and_then(serde_json::Value::as_u64);
    match format.ok_or("it has no format number")? {
        format if format > u64::from(from) => return Ok(Step::IsNewer),
        format if format < u64::from(from) => return Ok(Step::IsOlder),
        _ => {}
    }
    change(&mut document)?;
    document.insert("format".to_owned(), (from + 1).into());
    serde_json::to_vec(&document).map(Step::Changed).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Migration = Migration { number: 4, name: "one", changes: "", parts: &[] };
    const TWO: Migration = Migration { number: 5, name: "two", changes: "", parts: &[] };
    const BOTH: Migrations = Migrations { base: 3, list: &[ONE, TWO] };

    fn names(found: &str) -> Option<Vec<&'static str>> {
        let pending = BOTH.pending(&Format::parse(found))?;
        Some(pending.iter().map(|one| one.name).collect())
    }

    #[test]
    fn what_a_store_needs_follows_from_its_format() {
        assert_eq!(BOTH.newest(), 5);
        assert_eq!(names("3"), Some(vec!["one", "two"]));
        assert_eq!(names("3>4"), Some(vec!["one", "two"]));
        assert_eq!(names("4>5"), Some(vec!["two"]));
        assert_eq!(names("5"), Some(vec![]));
        for found in ["2", "6", "none", ""] {
            assert_eq!(names(found), None, "{found}");
            let advice = BOTH.advice(&Format::parse(found));
            assert_eq!(advice, "use the build that wrote it");
        }
        for found in ["3", "4", "3>4", "4>5"] {
            assert!(BOTH.advice(&Format::parse(found)).contains("`gnomon migrate`"), "{found}");
        }
    }

    fn rename(document: &mut Object) -> Result<(), String> {
        let shade = document.remove("shade").ok_or("it has no shade")?;
        document.insert("shadow".to_owned(), shade);
        Ok(())
    }

    #[test]
    fn a_document_is_changed_once_and_only_at_its_format() {
        let step = |text: &str| step(&Bytes::copy_from_slice(text.as_bytes()), 1, rename);
        let Ok(Step::Changed(text)) = step(r#"{"format":1,"shade":{"a":0.1}}"#) else {
            panic!("it is changed");
        };
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, r#"{"format":2,"shadow":{"a":0.1}}"#);
        assert_eq!(step(&text), Ok(Step::IsNewer));
        assert_eq!(step(r#"{"format":0}"#), Ok(Step::IsOlder));
        for bad in [r#"{"format":1}"#, "{}", "[]", "", r#"{"format":"1"}"#] {
            step(bad).unwrap_err();
        }
    }
}
