//! The file: its tables, how it is made, opened and compacted, and who may read it when.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{PoisonError, RwLock};

use gnomon_host::port::migrate::Format;
use redb::{Database, ReadTransaction, ReadableDatabase, TableDefinition};

use super::error::{Failure, OpenError};
use super::migrate::{MIGRATIONS, Reads, not_needed};
use super::wal::Disk;
use super::{EmbeddedOptions, rows};
use crate::log::Marks;
use crate::logs::{Cell, DEAD};

/// Number of the on-disk layout.
pub(super) const FORMAT: u32 = MIGRATIONS.newest();

/// What the file says of itself: `format`, `partitions`, `identity`; `folded`: the last generation
/// of the write-ahead log that is in the tree; `migration 3`: what was migrated when by which build;
/// `migration cursor`: how far.
pub(super) const ABOUT: TableDefinition<'_, &str, &str> = TableDefinition::new("about");
/// Number of a log and position of the row's first message; see `rows`.
pub(super) const MESSAGES: TableDefinition<'_, (u32, u64), &[u8]> =
    TableDefinition::new("messages");
/// Number of a log; last position given out, floor, messages dropped unacknowledged.
pub(super) const MARKS: TableDefinition<'_, u32, (u64, u64, u64)> = TableDefinition::new("marks");
/// Number of a log; acknowledged messages of it that can never be applied. Files of earlier builds do
/// not have the table.
pub(super) const DEAD_COUNTS: TableDefinition<'_, u32, u64> = TableDefinition::new("dead");
/// Product, zero byte, device; revision (u64, little-endian) and JSON. No name holds a zero byte,
/// so keys sort as pairs do.
pub(super) const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// Client; document.
pub(super) const SESSIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("sessions");
/// Client and key; message.
pub(super) const SESSION_MESSAGES: TableDefinition<'_, (&str, u64), &[u8]> =
    TableDefinition::new("session-messages");

/// What is opened: the tree, and the two files of the write-ahead log.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) logs: Result<[Disk; 2], redb::Error>,
}

/// Opens all once more.
pub(super) type Opener = Box<dyn Fn() -> Result<Opened, redb::Error> + Send + Sync>;

/// The open file; none between an IO error and the next attempt to open it.
pub(crate) struct File {
    opener: Opener,
    identity: String,
    database: RwLock<Option<Database>>,
}

pub(super) fn path_in(dir: &Path) -> PathBuf {
    dir.join("gnomon.redb")
}

/// Paths of the write-ahead log.
fn logs_in(dir: &Path) -> [PathBuf; 2] {
    ["gnomon-a.wal", "gnomon-b.wal"].map(|name| dir.join(name))
}

impl File {
    pub(super) fn open(
        dir: &Path,
        options: &EmbeddedOptions,
        reads: Reads<'_>,
    ) -> Result<(Self, [Disk; 2]), OpenError> {
        let attempt = |error| OpenError::of_io(dir, error);
        fs::create_dir_all(dir).map_err(attempt)?;
        if !path_in(dir).try_exists().map_err(attempt)? {
            make(dir, options)?;
        }
        let (path, cache_bytes) = (path_in(dir), options.cache_bytes);
        let logs = logs_in(dir);
        let open = move || {
            let database = Database::builder().set_cache_size(cache_bytes).open(&path)?;
            let [a, b] = &logs;
            let logs = open_log(a).and_then(|a| Ok([a, open_log(b)?]));
            Ok(Opened { database, logs })
        };
        Self::with_opener(dir, options, Box::new(open), reads)
    }

    /// Opens what `opener` opens; `dir` is only told to people.
    pub(super) fn with_opener(
        dir: &Path,
        options: &EmbeddedOptions,
        opener: Opener,
        reads: Reads<'_>,
    ) -> Result<(Self, [Disk; 2]), OpenError> {
        let fault = |error| OpenError::of_redb(dir, error);
        let Opened { mut database, logs } = opener().map_err(fault)?;
        let identity = check(dir, &database, options, reads)?;
        let logs = logs.map_err(fault)?;
        compact(&mut database).map_err(fault)?;
        Ok((Self { opener, identity, database: RwLock::new(Some(database)) }, logs))
    }

    /// Distinguishes this file from every other one ever made.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// Reads in one transaction. Concurrent with the writer's transactions.
    pub(super) fn read<T>(
        &self,
        ask: impl FnOnce(&ReadTransaction) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = &*database else {
            return Err(Failure::Broken("the file is closed after an error".into()));
        };
        ask(&database.begin_read()?)
    }

    /// Begins the writer's transaction.
    pub(super) fn begin(&self) -> Result<redb::WriteTransaction, Failure> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        match &*database {
            Some(database) => Ok(database.begin_write()?),
            None => Err(Failure::Broken("the file is closed after an error".into())),
        }
    }

    /// Closes the file; waits for readers.
    pub(super) fn close(&self) {
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = database.map(Database::close) {
            tracing::warn!(%error, "embedded file closed with an error, it will be repaired");
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.database.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Opens the file again after [`File::close`].
    pub(super) fn reopen(&self) -> Result<[Disk; 2], Failure> {
        let Opened { database, logs } = (self.opener)()?;
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
        Ok(logs?)
    }

    /// The last generation of the write-ahead log that is in the tree.
    pub(super) fn folded(&self) -> Result<u64, Failure> {
        self.read(|transaction| {
            let folded = transaction.open_table(ABOUT)?.get("folded")?;
            let folded = folded.and_then(|value| value.value().parse().ok());
            folded.ok_or_else(|| Failure::Broken("the file does not say what is folded".into()))
        })
    }
}

fn open_log(path: &Path) -> Result<Disk, redb::Error> {
    let missing = |error: std::io::Error| {
        let reason = format!("{} of its write-ahead log: {error}", path.display());
        redb::Error::Io(std::io::Error::new(error.kind(), reason))
    };
    let file = fs::File::options().read(true).write(true).open(path).map_err(missing)?;
    Ok(Box::new(redb::backends::FileBackend::new(file)?))
}

/// Makes the file under another name and renames it, so that a crash leaves a whole one or none. An
/// empty write-ahead log is there before.
fn make(dir: &Path, options: &EmbeddedOptions) -> Result<(), OpenError> {
    let fault = |error| OpenError::of_redb(dir, error);
    let draft = dir.join("gnomon.redb.new");
    let database = match Database::create(&draft) {
        // Left half-made by a crash: nothing in it was ever used.
        Err(error) if !matches!(error, redb::DatabaseError::DatabaseAlreadyOpen) => {
            fs::remove_file(&draft).map_err(|_| fault(error.into()))?;
            Database::create(&draft)
        }
        made => made,
    };
    let database = database.map_err(|error| fault(error.into()))?;
    describe(&database, options).map_err(fault)?;
    let attempt = |error| OpenError::of_io(dir, error);
    for path in logs_in(dir) {
        fs::File::create(path).and_then(|log| log.sync_all()).map_err(attempt)?;
    }
    fs::rename(&draft, path_in(dir)).map_err(attempt)?;
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(attempt)
}

pub(super) fn describe(database: &Database, options: &EmbeddedOptions) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut about = transaction.open_table(ABOUT)?;
        about.insert("format", &*FORMAT.to_string())?;
        about.insert("partitions", &*options.partitions.to_string())?;
        about.insert("identity", &*new_identity())?;
        about.insert("folded", "0")?;
        for one in MIGRATIONS.list {
            let (key, value) = not_needed(one);
            about.insert(&*key, &*value)?;
        }
        transaction.open_table(MESSAGES)?;
        transaction.open_table(MARKS)?;
        transaction.open_table(DEAD_COUNTS)?;
        transaction.open_table(RECORDS)?;
        transaction.open_table(SESSIONS)?;
        transaction.open_table(SESSION_MESSAGES)?;
    }
    Ok(transaction.commit()?)
}

/// Eight characters from the system's randomness, by way of the keys of a fresh hasher.
fn new_identity() -> String {
    let number = RandomState::new().hash_one(std::process::id());
    format!("{:08x}", (number >> 32) ^ (number & 0xffff_ffff))
}

/// Checks what the file says of itself; its identity.
fn check(
    dir: &Path,
    database: &Database,
    options: &EmbeddedOptions,
    reads: Reads<'_>,
) -> Result<String, OpenError> {
    let path = path_in(dir);
    let [format, partitions, identity] =
        about(database).map_err(|error| OpenError::of_redb(dir, error))?;
    if !reads.accepts(&Format::parse(&format)) {
        return Err(OpenError::OtherFormat { path, found: format });
    }
    if partitions != options.partitions.to_string() {
        let asked = options.partitions;
        return Err(OpenError::OtherPartitions { path, found: partitions, asked });
    }
    Ok(identity)
}

fn about(database: &Database) -> Result<[String; 3], redb::Error> {
    let transaction = database.begin_read()?;
    let about = match transaction.open_table(ABOUT) {
        Err(redb::TableError::TableDoesNotExist(_)) => {
            return Ok(["none".into(), String::new(), String::new()]);
        }
        about => about?,
    };
    let text = |key| -> Result<String, redb::Error> {
        Ok(about.get(key)?.map(|value| value.value().to_owned()).unwrap_or_default())
    };
    Ok([text("format")?, text("partitions")?, text("identity")?])
}

/// Gives space back when more than half of the file is free.
fn compact(database: &mut Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    let stats = transaction.stats()?;
    transaction.abort()?;
    let used = stats.stored_bytes() + stats.metadata_bytes();
    // Smaller files are not worth it.
    const SMALL_BYTES: u64 = 8 << 20;
    if stats.fragmented_bytes() < SMALL_BYTES || stats.fragmented_bytes() < used {
        return Ok(());
    }
    let free_bytes = stats.fragmented_bytes();
    tracing::info!(used_bytes = used, free_bytes, "compacting the embedded file");
    match database.compact() {
        Ok(_) => Ok(()),
        Err(redb::CompactionError::Storage(error)) => Err(error.into()),
        // Nobody else has it open, so these cannot be; and if, then it stays as long as it is.
        Err(_) => Ok(()),
    }
}

/// Number under which a log stands in the file.
pub(super) fn number(log: gnomon_host::port::Log) -> u32 {
    use gnomon_host::port::Stream;
    let stream: u32 = match log.stream {
        Stream::Telemetry => 0,
        Stream::Shadow => 1,
        Stream::Calls => 2,
        Stream::Downlink => 3,
        Stream::Answers => 4,
        Stream::Dead => 5,
        Stream::Alerts => 6,
    };
    stream << 16 | u32::from(log.partition)
}

impl super::Core {
    /// Rebuilds memory from the file, in which everything durable is folded.
    pub(super) fn reload(&self) -> Result<(), redb::Error> {
        let database = self.file.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = &*database else { return Err(redb::Error::DatabaseClosed) };
        let transaction = database.begin_read()?;
        self.logs.cells.iter().try_for_each(|cell| self.reload_log(&transaction, cell))?;
        self.overlay.clear();
        self.reload_due(&transaction)
    }

    fn reload_log(&self, transaction: &ReadTransaction, cell: &Cell) -> Result<(), redb::Error> {
        let (messages, marks) = (transaction.open_table(MESSAGES)?, transaction.open_table(MARKS)?);
        let number = number(cell.log);
        let mut state = cell.lock();
        state.forget();
        let mut given_up = Vec::new();
        for row in messages.range((number, 0)..=(number, u64::MAX))? {
            let (key, row) = row?;
            let mut position = key.value().1;
            rows::each(row.value(), |id, body| {
                state.restore(position, self.logs.hash(id), (id.len() + body.len()) as u64);
                // A dead letter says something: an empty one was given up.
                if cell.log == DEAD && body.is_empty() {
                    given_up.push(position);
                }
                position += 1;
            });
        }
        let (appended, floor, dropped) =
            marks.get(number)?.map(|marks| marks.value()).unwrap_or_default();
        let dead = match transaction.open_table(DEAD_COUNTS) {
            Err(redb::TableError::TableDoesNotExist(_)) => 0,
            table => table?.get(number)?.map_or(0, |row| row.value()),
        };
        state.restored(Marks { appended, floor, dropped, dead });
        state.give_up(&given_up);
        // The tree drops whole rows only, so it may hold more than the log keeps.
        if let Some(last) = state.expendable() {
            state.drop_through(last);
        }
        // What memory knows better than the file is written with the next frame.
        cell.dirty.store(state.marks().floor > floor, Ordering::Release);
        drop(state);
        cell.wake.notify_waiters();
        Ok(())
    }
}
