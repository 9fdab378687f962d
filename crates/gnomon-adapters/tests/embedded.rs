//! Laws of the embedded store alone: one process for one directory, and no kill is too sudden.

#![allow(clippy::unwrap_used, reason = "everything here is a test")]

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gnomon_adapters::{Embedded, EmbeddedOptions, LogBounds, OpenError, QueueBounds};
use gnomon_host::port::{
    Committed, Consumer, Log, Message, Queue, QueueError, Store, Stream, Write,
};
use gnomon_model::{DeviceKey, Record};
use tempfile::TempDir;

const LOG: Log = Log { stream: Stream::Telemetry, partition: 1 };
/// Names the directory in which a child of this test works.
const CHILD_DIR: &str = "GNOMON_TEST_CHILD_DIR";

fn options() -> EmbeddedOptions {
    EmbeddedOptions { commit_interval: Duration::ZERO, ..EmbeddedOptions::new(2) }
}

fn open(dir: &TempDir) -> Embedded {
    Embedded::open(dir.path(), options()).unwrap()
}

fn refusal(dir: &Path, options: EmbeddedOptions) -> OpenError {
    Embedded::open(dir, options).map(|_| ()).unwrap_err()
}

fn message(id: impl ToString) -> Message {
    let id = id.to_string();
    Message { log: LOG, body: id.clone().into(), device: None, id }
}

fn write(number: u64, expected_revision: u64) -> Write {
    let device = DeviceKey::parse("p", &format!("device-{number:05}")).unwrap();
    let mut record = Record::default();
    record.counts.applied = expected_revision + 1;
    Write { device, expected_revision, record, due_before: Default::default() }
}

/// Runs one test of this binary in a process of its own.
fn child(test: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn file_bytes(dir: &TempDir) -> u64 {
    std::fs::metadata(dir.path().join("gnomon.redb")).unwrap().len()
}

#[tokio::test]
async fn a_directory_is_open_once_in_a_process() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(&dir);
    let error = refusal(dir.path(), options());
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    let line = error.to_string();
    assert!(line.contains("in use by another process") && !line.contains('\n'), "{line}");
    drop(first);
    open(&dir);
}

#[test]
fn a_directory_is_open_once_among_processes() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child("child_appends_until_killed", dir.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("acknowledged")));
    let error = refusal(dir.path(), options());
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    open(&dir);
}

#[test]
fn another_partition_count_is_refused_with_both_numbers() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    let error = refusal(dir.path(), EmbeddedOptions::new(7)).to_string();
    assert!(error.contains("made with 2 partitions, not 7"), "{error}");
}

#[test]
fn another_format_is_refused_with_both_numbers() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    let database = redb::Database::open(dir.path().join("gnomon.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    let about = redb::TableDefinition::<&str, &str>::new("about");
    transaction.open_table(about).unwrap().insert("format", "99").unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = refusal(dir.path(), options());
    assert!(matches!(error, OpenError::OtherFormat { .. }), "{error}");
    assert!(error.to_string().contains("format 99, this build reads 2"), "{error}");
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gnomon.redb");
    for bytes in [&b""[..], b"hello", &[0; 100_000], &[0x55; 100_000]] {
        std::fs::write(&path, bytes).unwrap();
        let error = refusal(dir.path(), options());
        assert!(matches!(error, OpenError::Damaged { .. }), "{} bytes: {error}", bytes.len());
    }
    std::fs::remove_file(&path).unwrap();
    drop(redb::Database::create(&path).unwrap());
    let error = refusal(dir.path(), options());
    assert!(matches!(error, OpenError::OtherFormat { .. }), "{error}");
}

#[test]
fn a_directory_that_cannot_be_made_is_told() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let error = refusal(&dir.path().join("file/below"), options());
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
}

#[tokio::test]
async fn a_truncated_file_is_refused_or_whole_and_never_panics() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(&dir);
    embedded.append((0..2000).map(message).collect()).await.unwrap();
    embedded.close().await;
    let path = dir.path().join("gnomon.redb");
    let whole = std::fs::read(&path).unwrap();
    for part in 0..40 {
        std::fs::write(&path, &whole[..whole.len() * part / 40]).unwrap();
        let Ok(embedded) = Embedded::open(dir.path(), options()) else { continue };
        assert_eq!(embedded.counts(LOG).await.unwrap().appended, 2000, "{part}");
    }
}

#[tokio::test]
async fn a_store_without_its_log_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(&dir);
    embedded.append(vec![message(1)]).await.unwrap();
    embedded.close().await;
    std::fs::remove_file(dir.path().join("gnomon-b.wal")).unwrap();
    let error = refusal(dir.path(), options());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("gnomon-b.wal of its write-ahead log"), "{error}");
}

#[tokio::test]
async fn a_log_of_another_store_is_refused() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&dir, &other] {
        let embedded = open(dir);
        embedded.append(vec![message(1)]).await.unwrap();
        embedded.close().await;
    }
    let [from, to] = [&other, &dir].map(|dir| dir.path().join("gnomon-a.wal"));
    std::fs::copy(from, to).unwrap();
    let error = refusal(dir.path(), options());
    assert!(error.to_string().contains("belongs to another store"), "{error}");
}

#[test]
fn a_half_made_file_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    for bytes in [&b""[..], b"redb", &[0; 5000]] {
        std::fs::write(dir.path().join("gnomon.redb.new"), bytes).unwrap();
        drop(open(&dir));
        assert!(!dir.path().join("gnomon.redb.new").exists());
        std::fs::remove_file(dir.path().join("gnomon.redb")).unwrap();
    }
}

#[tokio::test]
async fn dropping_the_last_handle_keeps_acknowledgements_and_lets_go_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=5 {
        let embedded = open(&dir);
        embedded.append(vec![message(round)]).await.unwrap();
        let mut consumer = embedded.consume(LOG).await.unwrap();
        drop(embedded);
        let pulled = consumer.pull(10).await.unwrap();
        assert_eq!(pulled.len(), 1, "earlier ones are acknowledged");
        consumer.acknowledge(&[pulled[0].position]).await.unwrap();
    }
    assert_eq!(open(&dir).counts(LOG).await.unwrap().acknowledged, 5);
}

#[tokio::test]
async fn acknowledgements_become_durable_without_company() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(&dir);
    embedded.append(vec![message(1)]).await.unwrap();
    let before = embedded.transactions();
    embedded.consume(LOG).await.unwrap().acknowledge(&[1]).await.unwrap();
    // Nothing else is asked: only the writer's own timer can bring a transaction.
    while embedded.transactions() == before {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_waits_when_it_closes_is_still_done() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(&dir);
    let appending: Vec<_> = (0..100)
        .map(|id| {
            let embedded = embedded.clone();
            tokio::spawn(async move { embedded.append(vec![message(id)]).await })
        })
        .collect();
    tokio::task::yield_now().await;
    embedded.close().await;
    let mut done = 0;
    for one in appending {
        match one.await.unwrap() {
            Ok(()) => done += 1,
            Err(error) => assert!(matches!(error, QueueError::Closed), "{error}"),
        }
    }
    assert_eq!(open(&dir).counts(LOG).await.unwrap().appended, done);
}

#[tokio::test]
async fn records_pass_through_the_journal_unharmed() {
    let dir = tempfile::tempdir().unwrap();
    // Small, so that many folds begin and end.
    let options = EmbeddedOptions { journal_bytes: 20_000, ..options() };
    for round in 0..10 {
        let embedded = Embedded::open(dir.path(), options.clone()).unwrap();
        for first in (0..500).step_by(50) {
            let writes: Vec<_> = (first..first + 50).map(|number| write(number, round)).collect();
            let answers = embedded.commit(&writes).await.unwrap();
            assert!(answers.iter().all(|one| *one == Committed::Done { revision: round + 1 }));
            let stale = embedded.commit(&writes[..1]).await.unwrap();
            assert_eq!(stale, [Committed::Conflict]);
        }
        let devices: Vec<_> = (0..500).map(|number| write(number, 0).device).collect();
        let loaded = embedded.load(&devices).await.unwrap();
        assert!(loaded.iter().all(|one| one.revision == round + 1));
        assert!(loaded.iter().all(|one| one.record.counts.applied == round + 1));
        assert_eq!(embedded.list(None, None, 1000).await.unwrap().devices, devices);
        embedded.close().await;
    }
}

#[tokio::test]
async fn a_file_that_is_mostly_free_shrinks_when_opened() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = QueueBounds::uniform(LogBounds::consumed(10, 10_000));
    let options = EmbeddedOptions { bounds, ..options() };
    let embedded = Embedded::open(dir.path(), options.clone()).unwrap();
    let body = vec![b'x'; 100_000];
    for first in (0..400).step_by(50) {
        let big = |id: u64| Message { body: body.clone().into(), ..message(id) };
        embedded.append((first..first + 50).map(big).collect()).await.unwrap();
    }
    embedded.close().await;
    let before = file_bytes(&dir);
    let embedded = Embedded::open(dir.path(), options.clone()).unwrap();
    let mut consumer = embedded.consume(LOG).await.unwrap();
    consumer.acknowledge(&(1..=400).collect::<Vec<_>>()).await.unwrap();
    // Each drops some of what is not kept.
    for id in 400..410 {
        embedded.append(vec![message(id)]).await.unwrap();
    }
    drop(consumer);
    embedded.close().await;
    let embedded = Embedded::open(dir.path(), options).unwrap();
    assert_eq!(embedded.counts(LOG).await.unwrap().appended, 410);
    drop(embedded);
    assert!(before > 10_000_000 && file_bytes(&dir) < before / 4, "{before}, {}", file_bytes(&dir));
}

/// Works until it is killed, and says what it knows to be durable. Does nothing in a usual run.
#[test]
fn child_appends_until_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let embedded = Embedded::open(Path::new(&dir), options()).unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..4).map(|task| tokio::spawn(work(embedded.clone(), task))).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

async fn work(embedded: Embedded, task: u64) {
    let run = embedded.counts(LOG).await.unwrap().appended;
    let device = write(task, 0).device;
    let mut revision = embedded.load(&[device]).await.unwrap()[0].revision;
    for number in 0.. {
        let id = format!("{run}.{task}.{number}");
        // Asked for twice, as after an answer that was lost.
        embedded.append(vec![message(&id)]).await.unwrap();
        embedded.append(vec![message(&id), message(format!("{id}+"))]).await.unwrap();
        embedded.commit(&[write(task, revision)]).await.unwrap();
        revision += 1;
        println!("acknowledged {id} {task} {revision}");
    }
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (mut known, mut revisions) = (Vec::new(), [0_u64; 4]);
    for round in 0..6 {
        let mut child = child("child_appends_until_killed", dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The first in the middle of everything, then earlier and earlier, down to opening.
        let lines_max = [400, 100, 30, 5, 1, 0][round];
        let mut said: Vec<_> = lines.by_ref().take(lines_max).map(Result::unwrap).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        said.extend(lines.map_while(Result::ok));
        for line in said.iter().filter_map(|line| line.split_once("acknowledged ")) {
            let mut words = line.1.split(' ');
            // The kill may have cut the last line short.
            let (Some(id), Some(task), Some(revision)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            known.push(id.to_owned());
            revisions[task.parse::<usize>().unwrap()] = revision.parse().unwrap_or(0);
        }
        let embedded = open(&dir);
        assert_known(&embedded, &known).await;
        for (task, revision) in revisions.iter().enumerate() {
            let device = write(task as u64, 0).device;
            let stored = embedded.load(&[device]).await.unwrap().remove(0);
            assert!(stored.revision >= *revision, "{} < {revision}", stored.revision);
            assert_eq!(stored.record.counts.applied, stored.revision);
        }
    }
    assert!(known.len() > 500, "{}", known.len());
}

/// Every known id is there once, and each task's in its order.
async fn assert_known(embedded: &Embedded, known: &[String]) {
    let found = embedded.read(LOG, 0, usize::MAX).await.unwrap();
    let ids: Vec<_> = found.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "an id is there twice");
    assert_eq!(embedded.counts(LOG).await.unwrap().appended, ids.len() as u64);
    assert!((1..).zip(&found).all(|(position, one)| one.position == position));
    let place = |id: &String| ids.iter().position(|one| one == id);
    let places: Vec<_> =
        known.iter().map(|id| place(id).unwrap_or_else(|| panic!("{id}"))).collect();
    for task in ["0", "1", "2", "3"] {
        let mine = known.iter().zip(&places).filter(|(id, _)| id.split('.').nth(1) == Some(task));
        assert!(mine.map(|(_, place)| place).is_sorted(), "task {task} is out of order");
    }
}

#[test]
fn a_kill_while_opening_leaves_a_file_that_opens() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..15 {
        // Killed as soon as the process runs, wherever it is: before, in, or after opening.
        let mut child = child("child_appends_until_killed", dir.path());
        let opened = || {
            let names = ["gnomon.redb.new", "gnomon.redb"];
            names.iter().any(|name| dir.path().join(name).exists())
        };
        while !opened() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        drop(open(&dir));
        std::fs::remove_file(dir.path().join("gnomon.redb")).unwrap();
    }
}
