//! Migrations: what the last build that was landed left in Redis and NATS, and an embedded file with
//! migrations made up for the test.

#![allow(clippy::unwrap_used, reason = "everything here is a test")]

use std::path::Path;
use std::sync::Mutex;

use gnomon_adapters::redis::MIGRATIONS;
use gnomon_adapters::{Embedded, EmbeddedOptions, Memory, Nats, NatsOptions, Redis, RedisOptions};
use gnomon_host::downlink::reader;
use gnomon_host::migrate::{Asked, Done, GATEWAY, Migration, Migrations, Part, Tally, migrate};
use gnomon_host::port::migrate::{Format, Migrate};
use gnomon_host::port::{Consumer, Log, Message, Queue, Sessions, Store, Stream, Write};
use gnomon_model::{CallId, DeviceKey, DueKind, DueTimes, Object, PendingCall, Record};
use gnomon_tests::stack::{Kind, Part as Server};
use tokio::sync::Notify;

const DEVICES: u64 = 600;
const CLIENTS: u64 = 300;
const DOWNLINK: Log = Log { stream: Stream::Downlink, partition: 0 };
const REAL: Asked<'_> = Asked { dry_run: false, reader: "gateway-gateway", build: "1.2.3" };
const DRY: Asked<'_> = Asked { dry_run: true, ..REAL };

fn device(number: u64) -> DeviceKey {
    DeviceKey::parse("coldroom", &format!("room-{number:03}")).unwrap()
}

/// Every third one waits for a reply.
fn record(number: u64) -> Record {
    let mut record = Record::default();
    if number.is_multiple_of(3) {
        let deadline_ms = i64::try_from(number).unwrap();
        let service = "defrost".to_owned();
        let call = PendingCall { service, request: None, rule: None, deadline_ms };
        record.calls.insert(CallId(1), call);
    }
    record
}

async fn tell(part: &Server, commands: Vec<redis::Cmd>) {
    let client = redis::Client::open(part.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut pipe = redis::pipe();
    for command in commands {
        pipe.add_command(command);
    }
    let () = pipe.query_async(&mut connection).await.unwrap();
}

fn command(words: &[&str]) -> redis::Cmd {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command
}

/// A store as the build before several gateways left it.
async fn old_store() -> Server {
    let part = Server::start(Kind::Redis);
    let mut commands = vec![
        command(&["SET", "gnomon:format", "1"]),
        command(&["SADD", "gnomon:products", "coldroom"]),
    ];
    for number in 0..DEVICES {
        let name = format!("room-{number:03}");
        commands.push(command(&["ZADD", "gnomon:devices:coldroom", "0", &name]));
        let json = String::from_utf8(record(number).encode()).unwrap();
        let key = format!("gnomon:{{coldroom/{name}}}:record");
        commands.push(command(&["HSET", &key, "v", "3", "doc", &json]));
    }
    for number in 0..CLIENTS {
        let client = format!("client-{number:03}");
        let key = format!("gnomon:{{{client}}}:session");
        commands.push(command(&["SADD", "gnomon:sessions", &client]));
        commands.push(command(&["HSET", &key, "doc", "{}", "m7", "kept"]));
    }
    // One that was forgotten while its process died.
    commands.push(command(&["SADD", "gnomon:sessions", "gone"]));
    tell(&part, commands).await;
    part
}

async fn refusal(options: &RedisOptions) -> String {
    Redis::open(options).await.err().expect("it is refused").to_string()
}

async fn run<Q: Queue, S: Migrate>(
    queue: &Q,
    store: &S,
    list: &Migrations,
    asked: Asked<'_>,
) -> Vec<Done> {
    migrate(queue, store, list, asked, |_, _| {}).await.unwrap()
}

async fn due(store: &Redis) -> usize {
    store.due(DueKind::Call, i64::MAX >> 12, 2 * DEVICES as usize).await.unwrap().len()
}

#[tokio::test]
async fn an_old_redis_is_refused_counted_migrated_and_left_alone_after() {
    let part = old_store().await;
    let options = RedisOptions::new(&part.url());
    let said = refusal(&options).await;
    assert!(
        said.contains("has format 1, this build reads 2: stop everything and run `gnomon migrate`"),
        "{said}"
    );

    let (queue, store) = (Memory::new(1), Redis::open_to_migrate(&options).await.unwrap());
    let counted = run(&queue, &store, &MIGRATIONS, DRY).await;
    assert_eq!(store.standing().await.unwrap().format, Format::At(1));
    assert_eq!((due(&store).await, store.gateways().await.unwrap().len()), (0, 0));

    let done = run(&queue, &store, &MIGRATIONS, REAL).await;
    let [one] = &done[..] else { panic!("there is one migration: {done:?}") };
    assert_eq!(one.tally, counted[0].tally);
    let (third, looked_at) = (DEVICES / 3, DEVICES);
    let expected = Tally { looked_at, sessions: CLIENTS, due: third, ..Tally::default() };
    assert_eq!(one.tally, expected);
    assert_eq!(due(&store).await as u64, third);
    let standing = store.standing().await.unwrap();
    let applied = &standing.applied[0];
    assert_eq!((standing.format, standing.cursor, applied.number), (Format::At(2), None, 2));
    assert!(
        applied.at_ms > Some(0) && applied.build == "1.2.3" && applied.name == one.migration.name
    );

    let store = Redis::open(&options).await.unwrap();
    let sessions = store.load_all(GATEWAY).await.unwrap();
    assert_eq!(
        (store.gateways().await.unwrap(), sessions.len() as u64),
        (vec![GATEWAY.to_owned()], CLIENTS)
    );
    let kept = sessions
        .iter()
        .all(|one| one.pending == [(7, "kept".into())] && &one.document[..] == b"{}");
    assert!(kept, "{sessions:?}");
    assert!(run(&queue, &store, &MIGRATIONS, REAL).await.is_empty());
    assert_eq!(store.standing().await.unwrap().applied.len(), 1);
}

/// Migrates until told of a page that fits, and is then gone as a process is: with what it has under
/// way. What it had changed.
async fn killed(store: &Redis, until: impl Fn(&Tally) -> bool) -> Tally {
    let (queue, now, last) = (Memory::new(1), Notify::new(), Mutex::new(None));
    let told = |_: &Migration, tally: &Tally| {
        let mut last = last.lock().unwrap();
        if last.is_none() && until(tally) {
            *last = Some(*tally);
            now.notify_one();
        }
    };
    tokio::select! {
        biased;
        () = now.notified() => {}
        _ = migrate(&queue, store, &MIGRATIONS, REAL, told) => panic!("it was quicker"),
    }
    last.into_inner().unwrap().unwrap()
}

#[tokio::test]
async fn a_migration_that_is_cut_off_is_resumed_where_it_was() {
    let part = old_store().await;
    let options = RedisOptions::new(&part.url());
    let open = async || Redis::open_to_migrate(&options).await.unwrap();
    let first = killed(&open().await, |_| true).await;
    assert_eq!((first.sessions, first.looked_at), (256, 0));
    let said = refusal(&options).await;
    assert!(said.contains("format 1>2") && said.contains("run `gnomon migrate`"), "{said}");
    let second = killed(&open().await, |tally| tally.looked_at > 0).await;
    assert_eq!((second.sessions, second.looked_at), (CLIENTS - 256, 256));

    let store = open().await;
    assert_eq!(
        store.standing().await.unwrap().cursor.unwrap().after,
        Some(device(255).to_string())
    );
    let queue = Memory::new(1);
    let third = run(&queue, &store, &MIGRATIONS, REAL).await[0].tally;
    assert_eq!((third.sessions, third.looked_at), (0, DEVICES - 256));
    // A page may have been in before the cursor said so.
    assert!(second.due + third.due <= DEVICES / 3 && third.due > 0, "{second:?} {third:?}");
    assert_eq!(due(&store).await as u64, DEVICES / 3);
    assert_eq!(store.load_all(GATEWAY).await.unwrap().len() as u64, CLIENTS);

    // Whatever a cursor forgets, nothing is done twice.
    tell(&part, vec![command(&["SET", "gnomon:format", "1"])]).await;
    let again = run(&queue, &store, &MIGRATIONS, REAL).await[0].tally;
    assert_eq!(again, Tally { looked_at: DEVICES, ..Tally::default() });
}

#[tokio::test]
async fn a_new_redis_needs_nothing_and_a_newer_one_its_own_build() {
    let part = Server::start(Kind::RedisCluster);
    let options = RedisOptions::new(&part.url());
    let store = Redis::open(&options).await.unwrap();
    let standing = store.standing().await.unwrap();
    assert_eq!(standing.format, Format::At(2));
    assert_eq!((standing.applied.len(), standing.applied[0].at_ms), (1, None));
    assert!(run(&Memory::new(1), &store, &MIGRATIONS, REAL).await.is_empty());

    let part = Server::start(Kind::Redis);
    let options = RedisOptions::new(&part.url());
    for newer in ["3", "2>3"] {
        tell(&part, vec![command(&["SET", "gnomon:format", newer])]).await;
        let said = refusal(&options).await;
        let ends = format!("has format {newer}, this build reads 2: use the build that wrote it");
        // `2>3` leads on from 2, but this build has nothing that does.
        assert!(said.ends_with(&ends), "{said}");
    }
    tell(&part, vec![command(&["SET", "gnomon:format", "3"])]).await;
    Redis::open_to_migrate(&options).await.err().unwrap();
}

/// What the lone gateway of an older build had acknowledged becomes that of a reader, from which the
/// next gateway takes over and which it retires.
#[tokio::test]
async fn acknowledgements_of_a_lone_gateway_become_those_of_a_reader() {
    let (nats, part) = (Server::start(Kind::Nats), old_store().await);
    let queue = Nats::open(&NatsOptions::new(&nats.url(), 1)).await.unwrap();
    let message =
        |id: u64| Message { log: DOWNLINK, id: id.to_string(), device: None, body: "x".into() };
    queue.append((1..=5).map(message).collect()).await.unwrap();
    let mut lone = queue.consume(DOWNLINK).await.unwrap();
    assert!(!lone.pull(5).await.unwrap().is_empty());
    lone.acknowledge(&[1, 2]).await.unwrap();
    drop(lone);

    let store = Redis::open_to_migrate(&RedisOptions::new(&part.url())).await.unwrap();
    assert_eq!(run(&queue, &store, &MIGRATIONS, DRY).await[0].tally.acknowledgements, 1);
    assert_eq!(queue.readers(DOWNLINK).await.unwrap(), [""; 0]);
    assert_eq!(run(&queue, &store, &MIGRATIONS, REAL).await[0].tally.acknowledgements, 1);
    assert_eq!(queue.readers(DOWNLINK).await.unwrap(), [reader(GATEWAY)]);
    assert_eq!(queue.bar(DOWNLINK, &reader(GATEWAY)).await.unwrap(), 2);

    // Nothing holds the log any more but who reads it.
    let mut next = queue.consume_as(DOWNLINK, "gateway-next").await.unwrap();
    queue.retire(DOWNLINK, &reader(GATEWAY)).await.unwrap();
    queue.append(vec![message(6)]).await.unwrap();
    assert_eq!(next.pull(1).await.unwrap()[0].position, 6);
    next.acknowledge(&[6]).await.unwrap();
    assert_eq!(queue.progress(DOWNLINK).await.unwrap().floor, 6);
    assert!(!queue.name_reader(DOWNLINK, "gateway-next", false).await.unwrap());
}

fn to_two(document: &mut Object) -> Result<(), String> {
    let shadow = document.remove("shadow").ok_or("it has no shadow")?;
    document.insert("shade".to_owned(), shadow);
    Ok(())
}

fn to_three(document: &mut Object) -> Result<(), String> {
    document.insert("three".to_owned(), true.into());
    Ok(())
}

const MADE_UP: Migrations = Migrations {
    base: 2,
    list: &[
        Migration {
            number: 3,
            name: "shade",
            changes: "",
            parts: &[Part::Records { from: 1, change: to_two }],
        },
        Migration {
            number: 4,
            name: "three",
            changes: "",
            parts: &[Part::Records { from: 2, change: to_three }],
        },
    ],
};

fn open_older(dir: &Path) -> Embedded {
    Embedded::open_to_migrate(dir, EmbeddedOptions::new(1), &MADE_UP).unwrap()
}

#[tokio::test]
async fn records_of_an_embedded_file_are_migrated_in_order_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = Embedded::open(dir.path(), EmbeddedOptions::new(1)).unwrap();
    let write = |number: u64| Write {
        device: device(number),
        expected_revision: 0,
        record: record(number),
        due_before: DueTimes::default(),
    };
    embedded.commit(&(0..DEVICES).map(write).collect::<Vec<_>>()).await.unwrap();
    assert!(
        run(&embedded, &embedded, &gnomon_adapters::embedded::MIGRATIONS, REAL).await.is_empty()
    );
    embedded.close().await;

    let older = open_older(dir.path());
    let records = |done: &[Done]| done.iter().map(|one| one.tally.records).collect::<Vec<_>>();
    let counted = run(&older, &older, &MADE_UP, DRY).await;
    assert_eq!(records(&counted), [DEVICES, DEVICES]);
    assert_eq!(older.load(&[device(0)]).await.unwrap()[0].revision, 1);
    // Cut off after some pages, and before the file is closed in order.
    let now = Notify::new();
    tokio::select! {
        biased;
        () = now.notified() => {}
        _ = migrate(&older, &older, &MADE_UP, REAL, |_, _| now.notify_one()) => panic!("it was quicker"),
    }
    older.close().await;
    let refused = Embedded::open(dir.path(), EmbeddedOptions::new(1)).err().unwrap().to_string();
    assert!(refused.contains("format 2>3"), "{refused}");

    let older = open_older(dir.path());
    assert!(older.standing().await.unwrap().cursor.is_some());
    // Forgets the cursor: it is each record that says what was done.
    older.begin(2, 3).await.unwrap();
    let done = run(&older, &older, &MADE_UP, REAL).await;
    let [first, second] = records(&done)[..] else { panic!("both were needed") };
    assert_eq!((done[0].tally.looked_at, done[0].tally.unreadable), (DEVICES, 0));
    assert!((1..=DEVICES - 256).contains(&first) && second == DEVICES, "{first} {second}");
    let standing = older.standing().await.unwrap();
    let numbers: Vec<_> = standing.applied.iter().map(|one| one.number).collect();
    assert_eq!((standing.format, standing.cursor, numbers), (Format::At(4), None, vec![3, 4]));
    assert!(run(&older, &older, &MADE_UP, REAL).await.is_empty());
    older.close().await;

    let older = open_older(dir.path());
    let (mut after, mut seen) = (None, 0);
    loop {
        let rows = older.raw(after.as_ref(), 100).await.unwrap();
        let Some(last) = rows.last() else { break };
        after = Some(last.device.clone());
        for row in &rows {
            let document: Object = serde_json::from_slice(&row.document).unwrap();
            assert_eq!(
                (row.revision, &document["format"], &document["three"]),
                (3, &3.into(), &true.into())
            );
            assert!(document.contains_key("shade") && !document.contains_key("shadow"));
        }
        seen += rows.len() as u64;
    }
    assert_eq!(seen, DEVICES);
    older.close().await;
    let refused = Embedded::open(dir.path(), EmbeddedOptions::new(1)).err().unwrap().to_string();
    assert!(
        refused.ends_with("has format 4, this build reads 2: use the build that wrote it"),
        "{refused}"
    );
}
