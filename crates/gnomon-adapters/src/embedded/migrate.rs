//! The format of the file, and the migrations that lead to it. Records go through the writer as all do.

use std::sync::Arc;

use gnomon_host::migrate::{Migration, Migrations};
use gnomon_host::port::migrate::{Applied, Cursor, Format, Migrate, Raw, Standing};
use gnomon_host::port::{Committed, Store, StoreError};
use gnomon_model::{DeviceKey, Record};
use redb::ReadableTable;
use tokio::sync::oneshot;

use super::Embedded;
use super::error::Failure;
use super::file::ABOUT;
use super::inbox::{Commit, RecordRow};
use super::queue::ended;
use super::store::{REVISION_BYTES, key, revision};

/// Begins the keys of what the file says of its migrations.
const MIGRATION: &str = "migration ";
/// The key of the cursor, behind that.
const CURSOR: &str = "cursor";

/// All that were ever needed. Format 1 was never released.
pub const MIGRATIONS: Migrations = Migrations { base: 2, list: &[] };

/// Which formats may be opened.
#[derive(Clone, Copy)]
pub(super) enum Reads<'m> {
    /// Only the newest.
    Newest,
    /// All from which these lead on.
    Older(&'m Migrations),
}

impl Reads<'_> {
    pub(super) fn accepts(self, found: &Format) -> bool {
        match self {
            Self::Newest => *found == Format::At(MIGRATIONS.newest()),
            Self::Older(migrations) => migrations.pending(found).is_some(),
        }
    }
}

fn entry(applied: &Applied) -> (String, String) {
    (format!("{MIGRATION}{}", applied.number), json(applied))
}

/// What a new file says of a migration that it does not need: key and value.
pub(super) fn not_needed(one: &Migration) -> (String, String) {
    let build = env!("CARGO_PKG_VERSION").to_owned();
    entry(&Applied { number: one.number, name: one.name.to_owned(), at_ms: None, build })
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("texts and numbers have a JSON form")
}

/// What is said anew, or no longer: key and value.
type Sayings = Vec<(String, Option<String>)>;

impl Embedded {
    /// Changes what the file says of itself, durably, all or nothing.
    async fn say(&self, sayings: Sayings) -> Result<(), StoreError> {
        let core = Arc::clone(&self.life.core);
        let say = move || -> Result<(), Failure> {
            let transaction = core.file.begin()?;
            {
                let mut about = transaction.open_table(ABOUT)?;
                for (key, value) in &sayings {
                    match value {
                        Some(value) => about.insert(&**key, &**value)?,
                        None => about.remove(&**key)?,
                    };
                }
            }
            Ok(transaction.commit()?)
        };
        let said = tokio::task::spawn_blocking(say).await.map_err(|_| ended().store())?;
        said.map_err(|failure| failure.store())
    }

    fn cursor_key() -> String {
        format!("{MIGRATION}{CURSOR}")
    }

    /// All that the file says of itself.
    fn sayings(&self) -> Result<Vec<(String, String)>, StoreError> {
        let all = self.core().file.read(|transaction| {
            let mut all = Vec::new();
            for row in transaction.open_table(ABOUT)?.iter()? {
                let (key, value) = row?;
                all.push((key.value().to_owned(), value.value().to_owned()));
            }
            Ok(all)
        });
        all.map_err(|failure| failure.store())
    }
}

impl Migrate for Embedded {
    async fn standing(&self) -> Result<Standing, StoreError> {
        let (mut format, mut cursor, mut applied) = (String::new(), None, Vec::new());
        for (key, value) in self.sayings()? {
            match key.strip_prefix(MIGRATION) {
                Some(CURSOR) => cursor = Some(decode(&value)?),
                Some(_) => applied.push(decode(&value)?),
                None if key == "format" => format = value,
                None => {}
            }
        }
        applied.sort_unstable_by_key(|applied: &Applied| applied.number);
        Ok(Standing { format: Format::parse(&format), cursor, applied })
    }

    async fn begin(&self, from: u32, to: u32) -> Result<(), StoreError> {
        let begun = Format::Between(from, to).to_string();
        self.say(vec![("format".to_owned(), Some(begun)), (Self::cursor_key(), None)]).await
    }

    async fn note(&self, cursor: &Cursor) -> Result<(), StoreError> {
        self.say(vec![(Self::cursor_key(), Some(json(cursor)))]).await
    }

    async fn finish(&self, applied: &Applied) -> Result<(), StoreError> {
        let (key, value) = entry(applied);
        let format = Format::At(applied.number).to_string();
        self.say(vec![
            (key, Some(value)),
            ("format".to_owned(), Some(format)),
            (Self::cursor_key(), None),
        ])
        .await
    }

    async fn raw(
        &self,
        after: Option<&DeviceKey>,
        count_max: usize,
    ) -> Result<Vec<Raw>, StoreError> {
        let devices = self.list(None, after, count_max).await?.devices;
        let rows = self.rows(&devices)?;
        let raw = |(device, row): (DeviceKey, Option<bytes::Bytes>)| {
            let row = row?;
            let document = row.slice(REVISION_BYTES.min(row.len())..);
            Some(Raw { device, revision: revision(&row), document })
        };
        Ok(devices.into_iter().zip(rows).filter_map(raw).collect())
    }

    async fn rewrite(&self, rows: &[Raw]) -> Result<(), StoreError> {
        let (reply, done) = oneshot::channel();
        let rows = rows.iter().map(record_row).collect();
        self.core().inbox.commit(Commit { rows, reply }).map_err(|refused| refused.store())?;
        if done.await.map_err(|_| ended().store())??.contains(&Committed::Conflict) {
            let reason = "somebody writes records at the same time: stop it".to_owned();
            return Err(StoreError::Unavailable { reason });
        }
        Ok(())
    }
}

fn record_row(row: &Raw) -> RecordRow {
    let mut value = Vec::with_capacity(REVISION_BYTES + row.document.len());
    value.extend_from_slice(&row.revision.wrapping_add(1).to_le_bytes());
    value.extend_from_slice(&row.document);
    // One of a format in between: what is due is read from the records when the file is opened next.
    let due = Record::decode(&row.document).map(|record| record.due_times()).unwrap_or_default();
    RecordRow { key: key(&row.device), expected_revision: row.revision, value: value.into(), due }
}

fn decode<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|error| StoreError::Unavailable {
        reason: format!("what the file says of its migrations cannot be read: {error}"),
    })
}
