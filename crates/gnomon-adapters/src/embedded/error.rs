//! What can be wrong with the file, each in one line that says what to do.

use std::io;
use std::path::{Path, PathBuf};

use gnomon_host::port::migrate::Format;
use gnomon_host::port::{QueueError, StoreError};

use super::file::FORMAT;
use super::migrate::MIGRATIONS;

/// Why the embedded store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it open.
    #[error("{dir} is in use by another process: stop that one, or choose another directory", dir = dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The disk is full.
    #[error("no space left on the disk of {dir}: free some and start again", dir = dir.display())]
    NoSpace {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory or the file may not be written.
    #[error("{dir} is not writable: give this user the right to write there", dir = dir.display())]
    NotWritable {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Written by another version.
    #[error(
        "{path} has format {found}, this build reads {FORMAT}: {advice}",
        path = path.display(),
        advice = MIGRATIONS.advice(&Format::parse(found))
    )]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// What it says of itself.
        found: String,
    },
    /// Made with another partition count.
    #[error("{path} was made with {found} partitions, not {asked}: configure {found}, or choose another directory", path = path.display())]
    OtherPartitions {
        /// The file.
        path: PathBuf,
        /// Count it was made with.
        found: String,
        /// Count asked for.
        asked: u16,
    },
    /// It is not a store, or not whole.
    #[error("{path} is damaged ({reason}): restore it from a backup, or move it away to start anew", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// Anything else that the system refuses.
    #[error("open {dir}", dir = dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn of_io(dir: &Path, source: io::Error) -> Self {
        let dir = dir.to_owned();
        match source.kind() {
            kind if is_no_space(kind) => Self::NoSpace { dir },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable { dir, source }
            }
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => {
                Self::Damaged { path: super::file::path_in(&dir), reason: source.to_string() }
            }
            _ => Self::Io { dir, source },
        }
    }

    /// For what was found wrong while the write-ahead log was read back.
    pub(super) fn of_failure(dir: &Path, failure: Failure) -> Self {
        match failure {
            Failure::NoSpace => Self::NoSpace { dir: dir.to_owned() },
            Failure::Broken(reason) => Self::Damaged { path: super::file::path_in(dir), reason },
        }
    }

    pub(super) fn of_redb(dir: &Path, error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse { dir: dir.to_owned() },
            redb::Error::Io(source) => Self::of_io(dir, source),
            redb::Error::UpgradeRequired(version) => Self::OtherFormat {
                path: super::file::path_in(dir),
                found: format!("redb {version}"),
            },
            other => Self::Damaged { path: super::file::path_in(dir), reason: other.to_string() },
        }
    }
}

fn is_no_space(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why a transaction came to nothing, as told to each of its requests.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// No space left.
    NoSpace,
    /// Anything else.
    Broken(String),
}

impl Failure {
    pub(super) fn queue(&self) -> QueueError {
        match self {
            Self::NoSpace => QueueError::Full { reason: "no space left on the disk".into() },
            Self::Broken(reason) => QueueError::Unavailable { reason: reason.clone() },
        }
    }

    pub(super) fn store(&self) -> StoreError {
        let reason = match self {
            Self::NoSpace => "no space left on the disk".into(),
            Self::Broken(reason) => reason.clone(),
        };
        StoreError::Unavailable { reason }
    }
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::Io(source) if is_no_space(source.kind()) => Self::NoSpace,
            other => Self::Broken(other.to_string()),
        }
    }
}
