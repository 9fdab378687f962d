//! The index of what is due, which stands in other slots than the records.
//!
//! Of each kind there are a few indexes, so that none is hot; each is a sorted set of devices by time
//! and a hash of revisions: the entry of a device was written for a record of that revision.
//!
//! Invariants: while something is due in a record, the index has its device at that time or before.
//! So a commit by which something becomes due earlier enters it before it writes the record; a
//! commit by which it becomes due later, or not at all, leaves the entry as it is, which costs
//! nothing. Whoever finds an entry too early compares it with the record and corrects it, unless it
//! was written for a newer record than the one that was read: then a writer may be on its way.
//! See: docs/decisions/2026-11-24-due-index.md

use gnomon_host::port::{StoreError, Write};
use gnomon_model::{DeviceKey, DueKind, DueTimes};
use redis::Cmd;

use super::{Redis, read};

/// Indexes of one kind.
const INDEXES: u16 = 8;
/// Most times that one search reads on because all that it found needed correction.
const ROUNDS_MAX: usize = 8;

/// Enters a device, unless it stands there earlier already, and notes the revision.
const ENTER: &str = "\
local at = redis.call('ZSCORE', KEYS[1], ARGV[1]) \
if not at or tonumber(ARGV[2]) < tonumber(at) then redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1]) end \
local v = redis.call('HGET', KEYS[2], ARGV[1]) \
if not v or tonumber(ARGV[3]) > tonumber(v) then redis.call('HSET', KEYS[2], ARGV[1], ARGV[3]) end \
return 1";

/// Makes an entry say what the record of a revision says, unless it was written for a newer one.
const CORRECT: &str = "\
local v = redis.call('HGET', KEYS[2], ARGV[1]) \
if v and tonumber(v) > tonumber(ARGV[2]) then return 0 end \
if ARGV[3] == '' then redis.call('ZREM', KEYS[1], ARGV[1]) redis.call('HDEL', KEYS[2], ARGV[1]) return 1 end \
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1]) \
return 1";

/// An entry: since when, and who.
type Entry = (i64, DeviceKey);

impl Redis {
    /// The keys of one index: devices by time, and revisions. The braces put both into one slot.
    fn index_keys(&self, kind: DueKind, index: u16) -> [String; 2] {
        let index = index.to_string();
        ["at", "v"].map(|part| self.key(&[":{due:", kind.as_str(), ":", &index, "}:", part]))
    }

    fn index_command(&self, script: &str, kind: DueKind, device: &DeviceKey) -> Cmd {
        let [at, v] = self.index_keys(kind, device.partition(INDEXES));
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(2).arg(at).arg(v).arg(device.to_string());
        command
    }

    /// Enters what becomes due earlier by a write than it was before; to be done before the write.
    pub(super) fn enter_due(&self, write: &Write, commands: &mut Vec<Cmd>) {
        let times = write.record.due_times();
        for kind in DueKind::ALL {
            let (before, after) = (write.due_before.of(kind), times.of(kind));
            let Some(at_ms) = after else { continue };
            if before.is_none_or(|before| at_ms < before) {
                let mut command = self.index_command(ENTER, kind, &write.device);
                command.arg(at_ms).arg(write.expected_revision.wrapping_add(1));
                commands.push(command);
            }
        }
    }

    /// Enters what is due in records as they stand, where no entry says so or one that is too late; how
    /// many. With `dry_run` it only counts.
    pub(super) async fn enter_missing(
        &self,
        rows: &[(DeviceKey, u64, DueTimes)],
        dry_run: bool,
    ) -> Result<u64, StoreError> {
        let due = rows.iter().flat_map(|(device, revision, times)| {
            let of = move |kind: DueKind| Some((device, *revision, kind, times.of(kind)?));
            DueKind::ALL.into_iter().filter_map(of)
        });
        let due: Vec<_> = due.collect();
        let ask = |(device, _, kind, _): &(&DeviceKey, u64, DueKind, i64)| {
            let [at, _] = self.index_keys(*kind, device.partition(INDEXES));
            let mut command = redis::cmd("ZSCORE");
            command.arg(at).arg(device.to_string());
            command
        };
        let scores = self.ask(due.iter().map(ask).collect()).await?;
        let mut commands = Vec::new();
        for ((device, revision, kind, at_ms), score) in due.into_iter().zip(scores) {
            let score: Option<f64> = read(score)?;
            if score.is_none_or(|score| at_ms < score as i64) {
                let mut command = self.index_command(ENTER, kind, device);
                command.arg(at_ms).arg(revision);
                commands.push(command);
            }
        }
        let missing = commands.len() as u64;
        if !dry_run {
            self.ask(commands).await?;
        }
        Ok(missing)
    }

    /// Removes devices whose records were erased: revisions of new ones begin anew.
    pub(super) async fn forget_due(&self, devices: &[DeviceKey]) -> Result<(), StoreError> {
        let mut commands = Vec::new();
        for (kind, device) in
            DueKind::ALL.iter().flat_map(|kind| devices.iter().map(move |one| (kind, one)))
        {
            let [at, v] = self.index_keys(*kind, device.partition(INDEXES));
            for (command, key) in [("ZREM", at), ("HDEL", v)] {
                let mut remove = redis::cmd(command);
                remove.arg(key).arg(device.to_string());
                commands.push(remove);
            }
        }
        self.ask(commands).await.map(|_| ())
    }

    /// What is due, by the records and not by the index alone.
    pub(super) async fn find_due(
        &self,
        kind: DueKind,
        now_ms: i64,
        count_max: usize,
    ) -> Result<Vec<(DeviceKey, i64)>, StoreError> {
        let mut due = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let entries = self.entries(kind, now_ms, count_max).await?;
            let is_full = entries.len() == count_max;
            let corrected;
            (due, corrected) = self.compare(kind, now_ms, entries).await?;
            if !(is_full && corrected) {
                break;
            }
        }
        due.sort_unstable_by(|(one, at_ms), (other, other_ms)| {
            (at_ms, one).cmp(&(other_ms, other))
        });
        Ok(due)
    }

    /// The earliest entries up to `now_ms` of all indexes.
    async fn entries(
        &self,
        kind: DueKind,
        now_ms: i64,
        count_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let ask = |index| {
            let [at, _] = self.index_keys(kind, index);
            let mut command = redis::cmd("ZRANGEBYSCORE");
            command.arg(at).arg("-inf").arg(now_ms).arg("WITHSCORES");
            command.arg("LIMIT").arg(0).arg(i64::try_from(count_max).unwrap_or(i64::MAX));
            command
        };
        let mut entries: Vec<Entry> = Vec::new();
        for found in self.ask((0..INDEXES).map(ask).collect()).await? {
            // Times of this age are far below the 53 bits that a score holds exactly.
            for (device, at_ms) in read::<Vec<(String, f64)>>(found)? {
                let key = device.split_once('/').and_then(|(p, d)| DeviceKey::parse(p, d).ok());
                entries.extend(key.map(|key| (at_ms as i64, key)));
            }
        }
        entries.sort_unstable();
        entries.truncate(count_max);
        Ok(entries)
    }

    /// Those entries whose records agree, and whether any was corrected.
    async fn compare(
        &self,
        kind: DueKind,
        now_ms: i64,
        entries: Vec<Entry>,
    ) -> Result<(Vec<(DeviceKey, i64)>, bool), StoreError> {
        let devices: Vec<DeviceKey> = entries.iter().map(|(_, device)| device.clone()).collect();
        let stored = self.load_each(&devices).await?;
        let mut due = Vec::new();
        let mut corrections = Vec::new();
        for ((entered_ms, device), stored) in entries.into_iter().zip(stored) {
            // Of a damaged record only the entry is known; the step will say what is wrong.
            let Ok(stored) = stored else {
                due.push((device, entered_ms));
                continue;
            };
            match stored.record.due_times().of(kind) {
                Some(at_ms) if at_ms <= now_ms => due.push((device, at_ms)),
                later => {
                    let at_ms = later.map(|at_ms| at_ms.to_string()).unwrap_or_default();
                    let mut command = self.index_command(CORRECT, kind, &device);
                    command.arg(stored.revision).arg(at_ms);
                    corrections.push(command);
                }
            }
        }
        let mut corrected = false;
        for answer in self.ask(corrections).await? {
            corrected |= read::<u8>(answer)? == 1;
        }
        Ok((due, corrected))
    }
}

#[cfg(test)]
mod tests {
    use gnomon_host::port::Store;
    use gnomon_model::{CallId, PendingCall, Record};
    use gnomon_tests::stack::{Kind, Part};

    use super::*;
    use crate::RedisOptions;

    fn write(expected_revision: u64, before: Option<i64>, deadline_ms: Option<i64>) -> Write {
        let mut record = Record::default();
        record.calls.extend(deadline_ms.map(|deadline_ms| {
            let service = "defrost".to_owned();
            (CallId(1), PendingCall { service, request: None, rule: None, deadline_ms })
        }));
        let due_before = DueTimes { call: before, reminder: None };
        let device = DeviceKey::parse("p", "d").unwrap();
        Write { device, expected_revision, record, due_before }
    }

    async fn due(redis: &Redis, now_ms: i64) -> Vec<i64> {
        let found = redis.due(DueKind::Call, now_ms, 10).await.unwrap();
        found.into_iter().map(|(_, at_ms)| at_ms).collect()
    }

    async fn entries(redis: &Redis) -> Vec<i64> {
        let entries = redis.entries(DueKind::Call, i64::from(i32::MAX), 10).await.unwrap();
        entries.into_iter().map(|(at_ms, _)| at_ms).collect()
    }

    /// What a writer does before its record, if it dies there.
    async fn die_before_the_record(redis: &Redis, write: &Write) {
        let mut commands = Vec::new();
        redis.enter_due(write, &mut commands);
        redis.ask(commands).await.unwrap();
    }

    #[tokio::test]
    async fn an_entry_whose_writer_may_be_on_its_way_stays_until_the_record_is_newer() {
        let part = Part::start(Kind::Redis);
        let redis = Redis::open(&RedisOptions::new(&part.url())).await.unwrap();
        redis.commit(&[write(0, None, Some(99))]).await.unwrap();
        die_before_the_record(&redis, &write(1, Some(100), Some(49))).await;
        assert_eq!(due(&redis, 60).await, [0_i64; 0]);
        assert_eq!(entries(&redis).await, [50]);
        // The writer was only slow: its record is due at once.
        redis.commit(&[write(1, Some(100), Some(49))]).await.unwrap();
        assert_eq!(due(&redis, 60).await, [50]);
        // And one that never comes, after whom somebody else writes.
        die_before_the_record(&redis, &write(2, Some(50), Some(19))).await;
        redis.commit(&[write(2, Some(50), Some(79))]).await.unwrap();
        assert_eq!(due(&redis, 60).await, [0_i64; 0]);
        assert_eq!(entries(&redis).await, [80]);
        redis.commit(&[write(3, Some(80), None)]).await.unwrap();
        assert_eq!(due(&redis, 100).await, [0_i64; 0]);
        assert_eq!(entries(&redis).await, [0_i64; 0]);
    }
}
