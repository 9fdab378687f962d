//! Power cuts and disk errors, on a disk that forgets what was not synced.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use gnomon_host::port::{
    Committed, Consumer, Log, Message, Queue, QueueError, Store, StoreError, Stream, Write,
};
use gnomon_model::{DeviceKey, Record};
use redb::StorageBackend;

use super::file::{File, Opened, describe};
use super::migrate::Reads;
use super::{Embedded, EmbeddedOptions};

const LOG: Log = Log { stream: Stream::Telemetry, partition: 0 };

/// A disk in memory. What was written since the last sync may be lost in a power cut, in any part.
#[derive(Debug, Default)]
struct Platter {
    durable: Vec<u8>,
    current: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
    /// Error of every write and sync, once this many more have passed.
    failing: Option<(u32, io::ErrorKind)>,
    seed: u64,
}

#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<Platter>>);

impl Platter {
    fn draw(&mut self, sides: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.seed >> 33) % sides
    }

    fn pass(&mut self) -> io::Result<()> {
        match &mut self.failing {
            Some((0, kind)) => Err((*kind).into()),
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Keeps what was synced, and of the rest some.
    fn cut_power(&mut self) {
        let mut disk = std::mem::take(&mut self.durable);
        for (offset, bytes) in std::mem::take(&mut self.unsynced) {
            let kept = match self.draw(3) {
                0 => 0,
                1 => bytes.len(),
                _ => self.draw(bytes.len() as u64 + 1) as usize,
            };
            disk.resize(disk.len().max(offset + kept), 0);
            disk[offset..offset + kept].copy_from_slice(&bytes[..kept]);
        }
        // The length of a file is metadata: it may have got through or not.
        disk.resize(disk.len().max(self.current.len()), 0);
        self.durable.clone_from(&disk);
        self.current = disk;
        self.failing = None;
    }
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }

    fn fail_after(&self, operations: u32, kind: io::ErrorKind) {
        self.lock().failing = Some((operations, kind));
    }

    fn heal(&self) {
        self.lock().failing = None;
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.lock();
        let from = disk.current.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut disk = self.lock();
        disk.pass()?;
        disk.current.resize(length as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.lock();
        disk.pass()?;
        disk.durable = disk.current.clone();
        disk.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.lock();
        disk.pass()?;
        let offset = offset as usize;
        disk.current[offset..offset + bytes.len()].copy_from_slice(bytes);
        disk.unsynced.push((offset, bytes.to_vec()));
        Ok(())
    }
}

fn options() -> EmbeddedOptions {
    EmbeddedOptions {
        cache_bytes: 1 << 20,
        tail_bytes: 256,
        journal_bytes: 4096,
        commit_interval: Duration::ZERO,
        ..EmbeddedOptions::new(1)
    }
}

/// The disks of the tree and of the two files of the log.
#[derive(Debug, Clone, Default)]
struct Disks([Disk; 3]);

impl Disks {
    fn fail_after(&self, operations: u32, kind: io::ErrorKind) {
        self.0.iter().for_each(|disk| disk.fail_after(operations, kind));
    }

    fn heal(&self) {
        self.0.iter().for_each(Disk::heal);
    }

    fn draw(&self, sides: u64) -> u64 {
        self.0[0].lock().draw(sides)
    }

    fn cut_power(&self) {
        self.0.iter().for_each(|disk| disk.lock().cut_power());
    }
}

fn open_database(disk: &Disk) -> Result<redb::Database, redb::Error> {
    Ok(redb::Database::builder().set_cache_size(1 << 20).create_with_backend(disk.clone())?)
}

fn open(disks: &Disks) -> Embedded {
    let dir = Path::new("disk");
    if disks.0[0].lock().current.is_empty() {
        describe(&open_database(&disks.0[0]).unwrap(), &options()).unwrap();
    }
    let [tree, a, b] = disks.0.clone();
    let opener = Box::new(move || {
        let database = open_database(&tree)?;
        Ok(Opened { database, logs: Ok([Box::new(a.clone()), Box::new(b.clone())]) })
    });
    let file = File::with_opener(dir, &options(), opener, Reads::Newest).unwrap();
    Embedded::start(dir, file, &options()).unwrap()
}

fn message(id: u64) -> Message {
    Message { log: LOG, id: id.to_string(), device: None, body: format!("body {id}").into() }
}

fn device(number: u64) -> DeviceKey {
    DeviceKey::parse("p", &format!("d{number}")).unwrap()
}

fn write(number: u64, expected_revision: u64) -> Write {
    let mut record = Record::default();
    record.counts.applied = expected_revision + 1;
    Write { device: device(number), expected_revision, record, due_before: Default::default() }
}

async fn ids(queue: &Embedded) -> Vec<u64> {
    let found = queue.read(LOG, 0, usize::MAX).await.unwrap();
    found.iter().map(|one| one.id.parse().unwrap()).collect()
}

async fn revision(store: &Embedded, number: u64) -> u64 {
    let stored = store.load(&[device(number)]).await.unwrap().remove(0);
    assert_eq!(stored.record.counts.applied, stored.revision);
    stored.revision
}

#[tokio::test]
async fn after_a_disk_error_the_writer_opens_the_file_again() {
    let disk = Disks::default();
    let embedded = open(&disk);
    embedded.append(vec![message(1)]).await.unwrap();
    embedded.commit(&[write(1, 0)]).await.unwrap();
    let mut consumer = embedded.consume(LOG).await.unwrap();
    assert_eq!(consumer.pull(9).await.unwrap().len(), 1);
    for (operations, kind) in [(0, io::ErrorKind::Other), (2, io::ErrorKind::TimedOut)] {
        disk.fail_after(operations, kind);
        let error = embedded.append(vec![message(2)]).await.unwrap_err();
        assert!(matches!(error, QueueError::Unavailable { .. }), "{error}");
        let error = embedded.commit(&[write(1, 1)]).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        disk.heal();
    }
    embedded.append(vec![message(2), message(3)]).await.unwrap();
    assert_eq!(ids(&embedded).await, [1, 2, 3]);
    let pulled = consumer.pull(9).await.unwrap();
    assert_eq!((pulled[0].position, &*pulled[0].id), (2, "2"));
    assert_eq!(revision(&embedded, 1).await, 1);
    let answer = embedded.commit(&[write(1, 1)]).await.unwrap();
    assert_eq!(answer, [Committed::Done { revision: 2 }]);
}

#[tokio::test]
async fn a_full_disk_is_told_as_full_and_recovers() {
    let disk = Disks::default();
    let embedded = open(&disk);
    disk.fail_after(0, io::ErrorKind::StorageFull);
    for _ in 0..3 {
        let error = embedded.append(vec![message(1)]).await.unwrap_err();
        assert!(matches!(error, QueueError::Full { .. }), "{error}");
    }
    disk.heal();
    embedded.append(vec![message(1)]).await.unwrap();
    assert_eq!(ids(&embedded).await, [1]);
}

#[tokio::test]
async fn acknowledgements_outlive_a_disk_error() {
    let disk = Disks::default();
    let embedded = open(&disk);
    embedded.append((1..=5).map(message).collect()).await.unwrap();
    let mut consumer = embedded.consume(LOG).await.unwrap();
    disk.fail_after(0, io::ErrorKind::Other);
    consumer.acknowledge(&[1, 2, 5]).await.unwrap();
    embedded.append(vec![message(6)]).await.unwrap_err();
    disk.heal();
    embedded.append(vec![message(6)]).await.unwrap();
    let counts = embedded.counts(LOG).await.unwrap();
    assert_eq!((counts.appended, counts.acknowledged), (6, 3));
    drop(consumer);
    embedded.close().await;
    let embedded = open(&disk);
    // The floor is kept, what was acknowledged above it is not.
    assert_eq!(embedded.counts(LOG).await.unwrap().acknowledged, 2);
    let mut consumer = embedded.consume(LOG).await.unwrap();
    assert_eq!(consumer.pull(1).await.unwrap()[0].id, "3");
}

/// What is known to be durable, and what may be.
#[derive(Default)]
struct Expected {
    appended: Vec<u64>,
    unsure: Vec<u64>,
    /// Device to the revision that it has for sure, and to the one it may have.
    revisions: BTreeMap<u64, (u64, u64)>,
    acknowledged: u64,
}

impl Expected {
    async fn check(&mut self, embedded: &Embedded) {
        let found = ids(embedded).await;
        assert!(found.starts_with(&self.appended), "{found:?} lacks some of {:?}", self.appended);
        let extra = &found[self.appended.len()..];
        assert!(self.unsure.starts_with(extra), "{extra:?} was never appended");
        self.appended = found;
        self.unsure.clear();
        for (number, (sure, maybe)) in &mut self.revisions {
            let found = revision(embedded, *number).await;
            assert!((*sure..=*maybe).contains(&found), "{number}: {found} not in {sure}..={maybe}");
            (*sure, *maybe) = (found, found);
        }
        let counts = embedded.counts(LOG).await.unwrap();
        assert!(counts.acknowledged <= self.acknowledged, "acknowledged by nobody");
        self.acknowledged = counts.acknowledged;
    }

    async fn work(&mut self, embedded: &Embedded, next: &mut u64, draw: u64) {
        match draw % 3 {
            0 => {
                let batch = *next..*next + 1 + draw % 7;
                *next = batch.end;
                let answer = embedded.append(batch.clone().map(message).collect()).await;
                let known = if answer.is_ok() { &mut self.appended } else { &mut self.unsure };
                known.extend(batch);
            }
            1 => {
                let (sure, maybe) = self.revisions.entry(draw % 40).or_default();
                let answer = embedded.commit(&[write(draw % 40, *sure)]).await;
                *maybe = *sure + 1;
                if let Ok(answer) = answer {
                    assert_eq!(answer, [Committed::Done { revision: *sure + 1 }]);
                    *sure = *maybe;
                }
            }
            _ => {
                let mut consumer = embedded.consume(LOG).await.unwrap();
                if self.acknowledged < self.appended.len() as u64 {
                    consumer.acknowledge(&[self.acknowledged + 1]).await.unwrap();
                    self.acknowledged += 1;
                }
            }
        }
    }
}

/// One life of the process, up to a power cut at a random write or sync.
async fn live(disk: &Disks, expected: &mut Expected, next: &mut u64) {
    let embedded = open(disk);
    expected.check(&embedded).await;
    let operations = disk.draw(150) as u32;
    disk.fail_after(operations, io::ErrorKind::Other);
    // After the first error nothing more is asked: what would be answered is tested elsewhere.
    while expected.unsure.is_empty() && expected.revisions.values().all(|(a, b)| a == b) {
        let draw = disk.draw(1 << 20);
        expected.work(&embedded, next, draw).await;
    }
    drop(embedded);
    disk.cut_power();
}

#[tokio::test]
async fn a_power_cut_at_any_write_loses_nothing_answered() {
    for seed in 0..12 {
        let disk = Disks::default();
        for (number, one) in disk.0.iter().enumerate() {
            one.lock().seed = 3 * seed + number as u64;
        }
        let (mut expected, mut next) = (Expected::default(), 1);
        for _ in 0..12 {
            live(&disk, &mut expected, &mut next).await;
        }
        expected.check(&open(&disk)).await;
        // The power did not go before anything was done.
        assert!(expected.appended.len() > 50 && expected.revisions.len() > 10);
    }
}
