//! What a store tells of its own format, and what a migration asks of it.
//!
//! Invariants: a store whose migration has begun is refused by every build, this one's and older
//! ones, until it is through; what was done is in the store before the cursor says so.

use std::fmt;
use std::future::Future;

use bytes::Bytes;
use gnomon_model::DeviceKey;
use serde::{Deserialize, Serialize};

use super::store::{Store, StoreError};

/// What a store says of its format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// The number, `2`.
    At(u32),
    /// On its way from one number to the next, `2>3`.
    Between(u32, u32),
    /// Something else.
    Other(String),
}

impl Format {
    /// Reads what [`Format`] prints.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let number = |text: &str| text.parse().ok();
        match text.split_once('>') {
            Some((from, to)) => {
                number(from).zip(number(to)).map(|(from, to)| Self::Between(from, to))
            }
            None => number(text).map(Self::At),
        }
        .unwrap_or_else(|| Self::Other(text.to_owned()))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(number) => write!(out, "{number}"),
            Self::Between(from, to) => write!(out, "{from}>{to}"),
            Self::Other(text) => out.write_str(text),
        }
    }
}

/// How far a migration has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Number of the migration.
    pub number: u32,
    /// Place in its list of parts; those before are done.
    pub part: usize,
    /// Last key that is done, `product/device` or a client id; none at the beginning of the part.
    pub after: Option<String>,
}

/// A migration that is done, as recorded in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The format that it leads to.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// When it was done, Unix milliseconds; none when the store began at this format or a later one,
    /// so that it was not needed.
    pub at_ms: Option<i64>,
    /// Version of the build that did it.
    pub build: String,
}

/// Where a store stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its format.
    pub format: Format,
    /// How far the migration has come that was begun.
    pub cursor: Option<Cursor>,
    /// Migrations that are done, by number.
    pub applied: Vec<Applied>,
}

/// A record as it stands in the store, of whatever format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// The device.
    pub device: DeviceKey,
    /// Number of commits so far.
    pub revision: u64,
    /// The record's JSON.
    pub document: Bytes,
}

/// Some clients whose sessions were looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Looked {
    /// The last of them; none when there are no more.
    pub last: Option<String>,
    /// Sessions that were, or would be, changed.
    pub changed: u64,
}

/// A store that can be migrated. Nobody else works on it meanwhile.
pub trait Migrate: Store {
    /// What it says of itself.
    ///
    /// # Errors
    /// The store is unavailable or closed.
    fn standing(&self) -> impl Future<Output = Result<Standing, StoreError>> + Send;

    /// Notes that the migration from one format to the next has begun, and that nothing of it is done.
    ///
    /// # Errors
    /// The store is unavailable or closed.
    fn begin(&self, from: u32, to: u32) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Notes how far the migration has come.
    ///
    /// # Errors
    /// The store is unavailable or closed.
    fn note(&self, cursor: &Cursor) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Records a migration, then says that the store has the format that it leads to.
    ///
    /// # Errors
    /// The store is unavailable or closed.
    fn finish(&self, applied: &Applied) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Up to `count_max` records after a device, sorted by key; none at the end.
    ///
    /// # Errors
    /// The store is unavailable or closed.
    fn raw(
        &self,
        after: Option<&DeviceKey>,
        count_max: usize,
    ) -> impl Future<Output = Result<Vec<Raw>, StoreError>> + Send;

    /// Replaces records whose revision is still the one given, which is raised by one.
    ///
    /// # Errors
    /// The store is unavailable or closed, or somebody else wrote a record.
    fn rewrite(&self, rows: &[Raw]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Enters what is due in records of the newest format into the index of what is due, where it is
    /// missing or too late; how many entries that are. With `dry_run` it only counts.
    ///
    /// # Errors
    /// The store is unavailable or closed.
    fn enter_due_of(
        &self,
        _rows: &[Raw],
        _dry_run: bool,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send {
        async { Ok(0) }
    }

    /// Gives up to `count_max` sessions after a client id that are no gateway's, from before there were
    /// several, to one gateway. With `dry_run` it only counts. Once there are no more, what stood
    /// nowhere but with them is removed.
    ///
    /// # Errors
    /// The store is unavailable or closed.
    fn adopt_sessions(
        &self,
        _after: Option<&str>,
        _count_max: usize,
        _gateway: &str,
        _dry_run: bool,
    ) -> impl Future<Output = Result<Looked, StoreError>> + Send {
        async { Ok(Looked::default()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_reads_what_it_prints() {
        for (text, format) in [
            ("2", Format::At(2)),
            ("2>3", Format::Between(2, 3)),
            ("", Format::Other(String::new())),
            ("2>", Format::Other("2>".to_owned())),
            ("none", Format::Other("none".to_owned())),
        ] {
            assert_eq!(Format::parse(text), format);
            assert_eq!(format.to_string(), text);
        }
    }
}
