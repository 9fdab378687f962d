//! Who may use NATS and Redis, and over what: right credentials work, wrong ones are refused in one
//! line that never holds a secret.

#![allow(clippy::unwrap_used, reason = "everything here is a test")]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use gnomon_adapters::redis::MIGRATIONS;
use gnomon_adapters::{Memory, Nats, NatsOptions, Redis, RedisOptions};
use gnomon_host::migrate::{Asked, migrate};
use gnomon_host::port::{
    Committed, Consumer, Log, Message, Queue, Sessions, Store, StoreError, Stream, Write,
};
use gnomon_model::{CallId, DeviceKey, DueKind, DueTimes, PendingCall, Record};
use gnomon_tests::certificate::{Authority, Identity};
use gnomon_tests::stack::{Kind, Part};

const SECRET: &str = "open-sesame";
const LOG: Log = Log { stream: Stream::Telemetry, partition: 0 };
/// How long a failover may take that takes two seconds.
const SOON: Duration = Duration::from_secs(60);

/// What a function needs of the queue.
async fn assert_queue_works(options: NatsOptions) {
    let queue = Nats::open(&options).await.unwrap();
    let message = Message { log: LOG, id: "1".into(), device: None, body: "x".into() };
    queue.append(vec![message]).await.unwrap();
    let mut consumer = queue.consume(LOG).await.unwrap();
    assert_eq!(consumer.pull(1).await.unwrap()[0].position, 1);
    consumer.acknowledge(&[1]).await.unwrap();
}

async fn assert_queue_refused(options: NatsOptions) {
    let Err(error) = Nats::open(&options).await else { panic!("it is let in") };
    let text = error.to_string();
    assert!(text.contains("may this user connect?"), "{text}");
    assert!(!text.contains(SECRET) && text.lines().count() == 1, "{text}");
}

fn queue_at(part: &Part, login: &str) -> NatsOptions {
    NatsOptions::new(&format!("nats://{login}{}", part.address()), 1)
}

/// A file that lasts as long as the first value.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

#[tokio::test]
async fn nats_knows_a_user_by_a_password() {
    let part = Part::start_with(Kind::Nats, &["--user", "gnomon", "--pass", SECRET]);
    assert_queue_works(queue_at(&part, &format!("gnomon:{SECRET}@"))).await;
    for wrong in [format!("gnomon:{SECRET}2@"), format!("other:{SECRET}@"), String::new()] {
        assert_queue_refused(queue_at(&part, &wrong)).await;
    }
}

#[tokio::test]
async fn nats_knows_a_token() {
    let part = Part::start_with(Kind::Nats, &["--auth", SECRET]);
    let with = |token: &str| NatsOptions { token: Some(token.to_owned()), ..queue_at(&part, "") };
    assert_queue_works(with(SECRET)).await;
    assert_queue_refused(with(&format!("{SECRET}2"))).await;
    assert_queue_refused(queue_at(&part, "")).await;
}

#[tokio::test]
async fn nats_knows_the_seed_of_an_nkey() {
    let (own, other) = (nkeys::KeyPair::new_user(), nkeys::KeyPair::new_user());
    let users = format!("authorization {{ users = [ {{ nkey: {} }} ] }}\n", own.public_key());
    let (_dir, config) = file(&users);
    let part = Part::start_with(Kind::Nats, &["-c", config.to_str().unwrap()]);
    let with = |path: PathBuf| NatsOptions { credentials: Some(path), ..queue_at(&part, "") };
    let (_own, path) = file(&own.seed().unwrap());
    assert_queue_works(with(path)).await;
    let seed = other.seed().unwrap();
    let (_other, path) = file(&seed);
    let text = Nats::open(&with(path)).await.err().unwrap().to_string();
    assert!(text.contains("may this user connect?") && !text.contains(&seed), "{text}");
    for garbage in ["no credentials", "SUnoseed"] {
        let (_dir, path) = file(garbage);
        let text = Nats::open(&with(path)).await.err().unwrap().to_string();
        assert!(!text.contains(garbage) && text.lines().count() == 1, "{text}");
    }
}

#[tokio::test]
async fn nats_over_tls_is_known_by_its_authority() {
    let authority = Authority::new();
    let Identity { certificate, key } = authority.issue("nats");
    let [certificate, key] = [certificate, key].map(|path| path.display().to_string());
    let words = ["--tls", "--tlscert", &certificate, "--tlskey", &key];
    let part = Part::start_with(Kind::Nats, &words);
    let trusting = |ca: PathBuf| {
        let url = format!("tls://{}", part.address());
        NatsOptions { ca: Some(ca), ..NatsOptions::new(&url, 1) }
    };
    assert_queue_works(trusting(authority.certificate())).await;
    let text = Nats::open(&trusting(Authority::new().certificate())).await.err().unwrap();
    assert!(text.to_string().to_lowercase().contains("certificate"), "{text}");
}

fn key() -> DeviceKey {
    DeviceKey::parse("coldroom", "room").unwrap()
}

/// All that a deployment asks of the store.
async fn assert_store_works(options: RedisOptions) {
    let store = Redis::open(&options).await.unwrap();
    let first = store.load(&[key()]).await.unwrap().remove(0);
    let write = Write {
        device: key(),
        expected_revision: first.revision,
        record: first.record,
        due_before: Default::default(),
    };
    let done = Committed::Done { revision: first.revision + 1 };
    assert_eq!(store.commit(std::slice::from_ref(&write)).await.unwrap(), [done]);
    assert_eq!(store.commit(&[write]).await.unwrap(), [Committed::Conflict]);
    assert_eq!(store.list(None, None, 10).await.unwrap().devices, [key()]);
    assert_eq!(store.list(Some(&key().product), None, 10).await.unwrap().devices, [key()]);
    assert!(store.load_all("gateway").await.unwrap().is_empty());
}

async fn assert_store_refused(options: RedisOptions) {
    let Err(error) = Redis::open(&options).await else { panic!("it is let in") };
    let text = error.to_string();
    assert!(text.contains("may this user connect?"), "{text}");
    assert!(!text.contains(SECRET) && text.lines().count() == 1, "{text}");
}

fn store_at(part: &Part, login: &str) -> RedisOptions {
    RedisOptions::new(&format!("redis://{login}{}", part.address()))
}

#[tokio::test]
async fn redis_asks_for_its_password() {
    let part = Part::start_with(Kind::Redis, &["--requirepass", SECRET]);
    assert_store_works(store_at(&part, &format!(":{SECRET}@"))).await;
    assert_store_refused(store_at(&part, &format!(":{SECRET}2@"))).await;
    assert_store_refused(store_at(&part, "")).await;
}

/// What the timer and a migration need of the store, beside what functions do.
async fn assert_due_and_migration_work(part: &Part, options: RedisOptions) {
    let store = Redis::open(&options).await.unwrap();
    let device = DeviceKey::parse("p", "waits").unwrap();
    let mut record = Record::default();
    let (service, deadline_ms) = ("defrost".to_owned(), 7);
    record.calls.insert(CallId(1), PendingCall { service, request: None, rule: None, deadline_ms });
    let due_before = DueTimes::default();
    store.commit(&[Write { device, expected_revision: 0, record, due_before }]).await.unwrap();
    assert_eq!(store.due(DueKind::Call, 8, 10).await.unwrap().len(), 1);
    for words in [
        &["set", "gnomon:format", "1"][..],
        &["sadd", "gnomon:sessions", "old"],
        &["hset", "gnomon:{old}:session", "doc", "{}"],
    ] {
        redis_cli(part, words);
    }
    let store = Redis::open_to_migrate(&options).await.unwrap();
    let asked = Asked { dry_run: false, reader: "gateway-gateway", build: "1" };
    let done = migrate(&Memory::new(1), &store, &MIGRATIONS, asked, |_, _| {}).await.unwrap();
    assert_eq!(done[0].tally.sessions, 1);
    let store = Redis::open(&options).await.unwrap();
    store.erase(&[DeviceKey::parse("p", "waits").unwrap()]).await.unwrap();
    assert_eq!(store.due(DueKind::Call, 8, 10).await.unwrap(), []);
}

/// The rights that docs/nats-redis.md gives the user.
fn documented_rights() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/nats-redis.md");
    let page = std::fs::read_to_string(page).unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix("ACL SETUSER gnomon on >secret "));
    line.expect("the page has the rights").to_owned()
}

#[tokio::test]
async fn the_documented_rights_of_a_redis_user_are_enough_and_each_is_needed() {
    let part = Part::start(Kind::Redis);
    let port = part.address().port().to_string();
    let set_rights = |rights: &[&str]| {
        let mut words = vec!["-p", &port, "acl", "setuser", "gnomon", "reset", "on"];
        let password = format!(">{SECRET}");
        words.push(&password);
        words.extend(rights);
        let out = Command::new("redis-cli").args(words).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "OK");
    };
    let rights = documented_rights();
    let rights: Vec<&str> = rights.split_whitespace().collect();
    set_rights(&rights);
    let login = format!("gnomon:{SECRET}@");
    assert_store_works(store_at(&part, &login)).await;
    assert_due_and_migration_work(&part, store_at(&part, &login)).await;
    assert_store_refused(store_at(&part, &format!("gnomon:{SECRET}2@"))).await;
    let other = RedisOptions { namespace: "other".into(), ..store_at(&part, &login) };
    assert!(Redis::open(&other).await.is_err(), "it may touch keys of others");
    for needed in ["+eval", "+hset", "+hmget", "+sadd", "+set", "+smembers"] {
        let fewer: Vec<&str> = rights.iter().copied().filter(|right| *right != needed).collect();
        assert_eq!(fewer.len() + 1, rights.len(), "{needed} is not documented");
        set_rights(&fewer);
        assert_eq!(redis_cli(&part, &["flushall"]), "OK");
        let works = tokio::spawn(assert_store_works(store_at(&part, &login))).await;
        assert!(works.is_err(), "{needed} is not needed");
    }
}

#[tokio::test]
async fn redis_over_tls_is_known_by_its_authority() {
    let authority = Authority::new();
    let Identity { certificate, key } = authority.issue("redis");
    let [certificate, key] = [certificate, key].map(|path| path.display().to_string());
    let ca = authority.certificate().display().to_string();
    let files =
        ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let ports = ["--port", "0", "--tls-port", "{port}", "--tls-auth-clients", "no"];
    let part = Part::start_with(Kind::Redis, &[&ports[..], &files].concat());
    let trusting = |ca: PathBuf| {
        let url = format!("rediss://{}", part.address());
        RedisOptions { ca: Some(ca), ..RedisOptions::new(&url) }
    };
    assert_store_works(trusting(authority.certificate())).await;
    let text = Redis::open(&trusting(Authority::new().certificate())).await.err().unwrap();
    assert!(text.to_string().to_lowercase().contains("certificate"), "{text}");
}

fn redis_cli(part: &Part, words: &[&str]) -> String {
    let port = part.address().port().to_string();
    let out = Command::new("redis-cli").args(["-p", &port]).args(words).output().unwrap();
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// Waits until a question is answered so.
fn await_answer(part: &Part, words: &[&str], fits: impl Fn(&str) -> bool) {
    let deadline = Instant::now() + SOON;
    while !fits(&redis_cli(part, words)) {
        assert!(Instant::now() < deadline, "{words:?}: {}", redis_cli(part, words));
        std::thread::yield_now();
    }
}

/// Calls until it is answered; whatever fails meanwhile is to be tried again.
async fn patiently<T>(call: impl AsyncFn() -> Result<T, StoreError>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(StoreError::Unavailable { reason }) => {
                assert!(Instant::now() < deadline, "{reason}");
            }
            Err(other) => panic!("not to be tried again: {other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_behind_sentinel_goes_on_with_the_replica() {
    let mut master = Part::start(Kind::Redis);
    let port = master.address().port().to_string();
    let replica = Part::start_with(Kind::Redis, &["--replicaof", "127.0.0.1", &port]);
    let lines = [
        &*format!("sentinel monitor main 127.0.0.1 {port} 1"),
        "sentinel down-after-milliseconds main 500",
        "sentinel failover-timeout main 3000",
    ];
    let sentinel = Part::start_with(Kind::Sentinel, &lines);
    await_answer(&sentinel, &["sentinel", "replicas", "main"], |known| {
        known.contains("master-link-status\nok")
    });
    let options = RedisOptions::new(&format!("{}/main", sentinel.url()));
    let store = Redis::open(&options).await.unwrap();
    let write = |revision, applied| {
        let mut record = Record::default();
        record.counts.applied = applied;
        vec![Write {
            device: key(),
            expected_revision: revision,
            record,
            due_before: Default::default(),
        }]
    };
    assert_eq!(store.commit(&write(0, 1)).await.unwrap(), [Committed::Done { revision: 1 }]);
    let keys = redis_cli(&master, &["dbsize"]);
    await_answer(&replica, &["dbsize"], |found| found == keys);
    master.kill_9();
    let stored = patiently(async || store.load(&[key()]).await).await.remove(0);
    assert_eq!((stored.revision, stored.record.counts.applied), (1, 1), "the record is lost");
    await_answer(&replica, &["role"], |role| role.starts_with("master"));
    let mut revision = stored.revision;
    let written = patiently(async || store.commit(&write(revision, 2)).await).await;
    // What seemed to fail may have been written.
    assert!(matches!(written[..], [Committed::Done { .. } | Committed::Conflict]));
    revision = patiently(async || store.load(&[key()]).await).await[0].revision;
    assert_eq!(revision, 2);
}
