//! The format of what stands in Redis, and the migrations that lead to it.
//!
//! Invariants: nothing is migrated without `1>2` standing in `gnomon:format` before, which no build
//! takes for its own. Each step of this file may be repeated.

use std::collections::HashMap;

use gnomon_host::migrate::{Migration, Migrations, Part};
use gnomon_host::port::migrate::{Applied, Cursor, Format, Looked, Migrate, Raw, Standing};
use gnomon_host::port::{Store, StoreError};
use gnomon_model::{DeviceKey, Record};
use redis::{Cmd, Value};

use super::connection::Connection;
use super::{Redis, read, read_one};

/// Field of the cursor, beside the numbers of migrations.
const CURSOR: &str = "cursor";

/// All that were ever needed.
pub const MIGRATIONS: Migrations = Migrations {
    base: 1,
    list: &[Migration {
        number: 2,
        name: "several-gateways",
        changes: "sessions are a gateway's, what is due stands in an index, each gateway acknowledges for itself",
        parts: &[Part::Sessions, Part::Due, Part::Downlink],
    }],
};

fn format_key(namespace: &str) -> String {
    format!("{namespace}:format")
}

fn migrations_key(namespace: &str) -> String {
    format!("{namespace}:migrations")
}

fn record(namespace: &str, applied: &Applied) -> Cmd {
    let mut command = redis::cmd("HSET");
    let json = serde_json::to_string(applied).expect("texts and numbers have a JSON form");
    command.arg(migrations_key(namespace)).arg(applied.number).arg(json);
    command
}

/// The format of the store. One that is empty begins with the newest, and needs no migration.
pub(super) async fn claim(connection: &Connection, namespace: &str) -> redis::RedisResult<Format> {
    let mut claim = redis::cmd("SET");
    claim.arg(format_key(namespace)).arg(MIGRATIONS.newest()).arg("NX");
    let claimed: Option<String> = read_one(connection.ask(vec![claim]).await?)?;
    if claimed.is_some() {
        let build = env!("CARGO_PKG_VERSION").to_owned();
        let not_needed = |one: &Migration| {
            let (number, name, build) = (one.number, one.name.to_owned(), build.clone());
            record(namespace, &Applied { number, name, at_ms: None, build })
        };
        connection.ask(MIGRATIONS.list.iter().map(not_needed).collect()).await?;
    }
    let mut ask = redis::cmd("GET");
    ask.arg(format_key(namespace));
    let found: String = read_one(connection.ask(vec![ask]).await?)?;
    Ok(Format::parse(&found))
}

impl Redis {
    /// Commands whose order matters, one after the other: they may be of several nodes.
    async fn in_turn(&self, commands: impl IntoIterator<Item = Cmd>) -> Result<(), StoreError> {
        for command in commands {
            self.ask(vec![command]).await?;
        }
        Ok(())
    }

    fn say_format(&self, format: &Format) -> Cmd {
        let mut command = redis::cmd("SET");
        command.arg(format_key(&self.shared.namespace)).arg(format.to_string());
        command
    }

    fn forget_cursor(&self) -> Cmd {
        let mut command = redis::cmd("HDEL");
        command.arg(migrations_key(&self.shared.namespace)).arg(CURSOR);
        command
    }
}

impl Migrate for Redis {
    async fn standing(&self) -> Result<Standing, StoreError> {
        let namespace = &self.shared.namespace;
        let (mut format, mut done) = (redis::cmd("GET"), redis::cmd("HGETALL"));
        format.arg(format_key(namespace));
        done.arg(migrations_key(namespace));
        let mut answers = self.ask(vec![format, done]).await?.into_iter();
        let format: String = read(answers.next().unwrap_or(Value::Nil))?;
        let mut fields: HashMap<String, String> = read(answers.next().unwrap_or(Value::Nil))?;
        let cursor = fields.remove(CURSOR).map(|json| decode(&json)).transpose()?;
        let applied = fields.values().map(|json| decode(json));
        let mut applied = applied.collect::<Result<Vec<Applied>, _>>()?;
        applied.sort_unstable_by_key(|applied| applied.number);
        Ok(Standing { format: Format::parse(&format), cursor, applied })
    }

    async fn begin(&self, from: u32, to: u32) -> Result<(), StoreError> {
        let begun = self.say_format(&Format::Between(from, to));
        self.in_turn([self.forget_cursor(), begun]).await
    }

    async fn note(&self, cursor: &Cursor) -> Result<(), StoreError> {
        let json = serde_json::to_string(cursor).expect("texts and numbers have a JSON form");
        let mut note = redis::cmd("HSET");
        note.arg(migrations_key(&self.shared.namespace)).arg(CURSOR).arg(json);
        self.in_turn([note]).await
    }

    async fn finish(&self, applied: &Applied) -> Result<(), StoreError> {
        let done = record(&self.shared.namespace, applied);
        let format = self.say_format(&Format::At(applied.number));
        self.in_turn([done, format, self.forget_cursor()]).await
    }

    async fn raw(
        &self,
        after: Option<&DeviceKey>,
        count_max: usize,
    ) -> Result<Vec<Raw>, StoreError> {
        let devices = self.list(None, after, count_max).await?.devices;
        let rows = self.ask(self.record_asks(&devices)).await?;
        let mut all = Vec::with_capacity(devices.len());
        for (device, row) in devices.into_iter().zip(rows) {
            // A device may stand in the index without a record: its first writer died before it.
            let (revision, document): (Option<u64>, Option<Vec<u8>>) = read(row)?;
            let (revision, document) = (revision.unwrap_or(0), document.unwrap_or_default().into());
            all.push(Raw { device, revision, document });
        }
        Ok(all)
    }

    async fn rewrite(&self, rows: &[Raw]) -> Result<(), StoreError> {
        let write = |row: &Raw| self.compare_and_set(&row.device, row.revision, &row.document);
        for answer in self.ask(rows.iter().map(write).collect()).await? {
            if read::<u8>(answer)? == 0 {
                let reason = "somebody writes records at the same time: stop it".to_owned();
                return Err(StoreError::Unavailable { reason });
            }
        }
        Ok(())
    }

    async fn enter_due_of(&self, rows: &[Raw], dry_run: bool) -> Result<u64, StoreError> {
        let due = rows.iter().filter(|row| Record::may_wait(&row.document)).filter_map(|row| {
            // One that cannot be read is told of when somebody loads it.
            let record = Record::decode(&row.document).ok()?;
            Some((row.device.clone(), row.revision, record.due_times()))
        });
        self.enter_missing(&due.collect::<Vec<_>>(), dry_run).await
    }

    async fn adopt_sessions(
        &self,
        after: Option<&str>,
        count_max: usize,
        gateway: &str,
        dry_run: bool,
    ) -> Result<Looked, StoreError> {
        self.adopt(after, count_max, gateway, dry_run).await
    }
}

fn decode<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|error| StoreError::Unavailable {
        reason: format!("what Redis says of its migrations cannot be read: {error}"),
    })
}
