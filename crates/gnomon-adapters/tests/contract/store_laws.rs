//! Laws of the store.

use gnomon_host::port::{Committed, Store, StoreError, Stored, Write};
use gnomon_model::{CallId, DeviceKey, DueKind, DueTimes, PendingCall, ProductKey, Record};

use crate::kind::{Kind, wide};

fn key(product: &str, device: &str) -> DeviceKey {
    DeviceKey::parse(product, device).unwrap()
}

/// A record that is told from others by its counter.
fn record(applied: u64) -> Record {
    let mut record = Record::default();
    record.counts.applied = applied;
    record
}

fn write(device: &DeviceKey, expected_revision: u64, applied: u64) -> Write {
    Write {
        device: device.clone(),
        expected_revision,
        record: record(applied),
        due_before: DueTimes::default(),
    }
}

async fn load(store: &impl Store, device: &DeviceKey) -> Stored {
    let mut loaded = store.load(std::slice::from_ref(device)).await.unwrap();
    assert_eq!(loaded.len(), 1);
    loaded.remove(0)
}

pub(crate) async fn a_device_without_a_record_has_the_default_one<K: Kind<Port: Store>>() {
    let kind = K::fresh(wide()).await;
    assert_eq!(load(kind.port(), &key("p", "d")).await, Stored::default());
    assert!(kind.port().load(&[]).await.unwrap().is_empty());
    assert!(kind.port().commit(&[]).await.unwrap().is_empty());
}

pub(crate) async fn what_is_committed_is_loaded<K: Kind<Port: Store>>() {
    let kind = K::fresh(wide()).await;
    let (a, b, none) = (key("p", "a"), key("p", "b"), key("p", "none"));
    kind.port().commit(&[write(&a, 0, 1), write(&b, 0, 2)]).await.unwrap();
    let loaded = kind.port().load(&[b.clone(), none, a, b]).await.unwrap();
    let applied: Vec<_> = loaded.iter().map(|one| one.record.counts.applied).collect();
    assert_eq!(applied, [2, 0, 1, 2]);
    assert_eq!(loaded[2], Stored { record: record(1), revision: 1 });
}

pub(crate) async fn records_survive_a_reopen<K: Kind<Port: Store>>() {
    let kind = K::fresh(wide()).await;
    let device = key("p", "设备");
    kind.port().commit(&[write(&device, 0, 1)]).await.unwrap();
    kind.port().commit(&[write(&device, 1, 2)]).await.unwrap();
    let Some(kind) = kind.reopen().await else { return };
    assert_eq!(load(kind.port(), &device).await, Stored { record: record(2), revision: 2 });
}

pub(crate) async fn a_stale_write_is_a_conflict<K: Kind<Port: Store>>() {
    let kind = K::fresh(wide()).await;
    let device = key("p", "d");
    for stale in [1, 7, u64::MAX - 1] {
        let answer = kind.port().commit(&[write(&device, stale, 9)]).await.unwrap();
        assert_eq!(answer, [Committed::Conflict]);
    }
    kind.port().commit(&[write(&device, 0, 1)]).await.unwrap();
    for stale in [0, 2] {
        let answer = kind.port().commit(&[write(&device, stale, 9)]).await.unwrap();
        assert_eq!(answer, [Committed::Conflict]);
    }
    assert_eq!(load(kind.port(), &device).await, Stored { record: record(1), revision: 1 });
}

pub(crate) async fn a_batch_answers_each_write_by_itself<K: Kind<Port: Store>>() {
    let kind = K::fresh(wide()).await;
    let (a, b, c) = (key("p", "a"), key("p", "b"), key("p", "c"));
    kind.port().commit(&[write(&b, 0, 1)]).await.unwrap();
    let answers =
        kind.port().commit(&[write(&a, 0, 2), write(&b, 0, 2), write(&c, 0, 2)]).await.unwrap();
    let done = Committed::Done { revision: 1 };
    assert_eq!(answers, [done, Committed::Conflict, done]);
    assert_eq!(load(kind.port(), &b).await.record, record(1));
    assert_eq!(load(kind.port(), &c).await.record, record(2));
}

pub(crate) async fn the_second_write_of_a_batch_to_one_device_conflicts<K: Kind<Port: Store>>() {
    let kind = K::fresh(wide()).await;
    let device = key("p", "d");
    let writes = [write(&device, 0, 1), write(&device, 0, 2), write(&device, 1, 3)];
    let answers = kind.port().commit(&writes).await.unwrap();
    let done = |revision| Committed::Done { revision };
    assert_eq!(answers, [done(1), Committed::Conflict, done(2)]);
    assert_eq!(load(kind.port(), &device).await, Stored { record: record(3), revision: 2 });
}

pub(crate) async fn revisions_count_commits<K: Kind<Port: Store>>() {
    let kind = K::fresh(wide()).await;
    let device = key("p", "d");
    for expected in 0..20 {
        let answer = kind.port().commit(&[write(&device, expected, expected)]).await.unwrap();
        assert_eq!(answer, [Committed::Done { revision: expected + 1 }]);
        assert_eq!(load(kind.port(), &device).await.revision, expected + 1);
    }
}

async fn increment(store: &impl Store, device: &DeviceKey) {
    loop {
        let Stored { mut record, revision } = load(store, device).await;
        record.counts.applied += 1;
        let write = Write {
            device: device.clone(),
            expected_revision: revision,
            record,
            due_before: DueTimes::default(),
        };
        match store.commit(&[write]).await.unwrap()[..] {
            [Committed::Done { .. }] => return,
            _ => tokio::task::yield_now().await,
        }
    }
}

pub(crate) async fn no_update_is_lost_between_racing_writers<K: Kind<Port: Store>>() {
    let kind = K::fresh(wide()).await;
    let device = key("p", "d");
    let racers: Vec<_> = (0..4)
        .map(|_| {
            let (store, device) = (kind.port().clone(), device.clone());
            tokio::spawn(async move {
                for _ in 0..25 {
                    increment(&store, &device).await;
                }
            })
        })
        .collect();
    for racer in racers {
        racer.await.unwrap();
    }
    assert_eq!(load(kind.port(), &device).await, Stored { record: record(100), revision: 100 });
}

/// Names that sort badly when glued together, or look like one another's prefix.
fn nasty() -> Vec<DeviceKey> {
    let products = ["a", "a-", "a-b", "a0", "a_", "A", "ab", "-", "zz"];
    let devices = ["-", "a", "a.b:c@d_e", "设备", "~", "\u{10ffff}", "0"];
    let mut all: Vec<_> =
        products.iter().flat_map(|product| devices.map(|device| key(product, device))).collect();
    all.sort();
    all
}

async fn listed(store: &impl Store, product: Option<&str>, count_max: usize) -> Vec<DeviceKey> {
    let product = product.map(|product| ProductKey::parse(product).unwrap());
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(product.as_ref(), after.as_ref(), count_max).await.unwrap();
        assert!(page.devices.len() <= count_max);
        all.extend(page.devices);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

async fn commit_nasty(store: &impl Store) -> Vec<DeviceKey> {
    let all = nasty();
    let writes: Vec<_> = all.iter().rev().map(|device| write(device, 0, 1)).collect();
    store.commit(&writes).await.unwrap();
    all
}

pub(crate) async fn pages_list_every_device_once_in_order<K: Kind<Port: Store>>() {
    let kind = K::fresh(wide()).await;
    assert!(listed(kind.port(), None, 10).await.is_empty());
    let all = commit_nasty(kind.port()).await;
    for count_max in [1, 2, 7, all.len() - 1, all.len(), all.len() + 1, usize::MAX] {
        assert_eq!(listed(kind.port(), None, count_max).await, all, "{count_max}");
    }
    let exact = kind.port().list(None, None, all.len()).await.unwrap();
    assert_eq!(exact.next, None);
}

pub(crate) async fn a_listing_of_a_product_is_just_that<K: Kind<Port: Store>>() {
    let kind = K::fresh(wide()).await;
    let all = commit_nasty(kind.port()).await;
    for product in ["a", "a-", "a-b", "a0", "a_", "A", "ab", "-", "zz", "none", "b"] {
        let expected: Vec<_> =
            all.iter().filter(|key| key.product.as_str() == product).cloned().collect();
        assert_eq!(listed(kind.port(), Some(product), 3).await, expected, "{product}");
    }
    // After a key of another product, before and behind.
    let product = ProductKey::parse("a0").unwrap();
    let page = kind.port().list(Some(&product), Some(&key("a", "z")), 100).await.unwrap();
    assert_eq!(page.devices.len(), 7);
    let page = kind.port().list(Some(&product), Some(&key("ab", "z")), 100).await.unwrap();
    assert_eq!(page.devices.len(), 0);
}

pub(crate) async fn a_closed_store_says_so<K: Kind<Port: Store>>() {
    let kind = K::fresh(wide()).await;
    kind.close().await;
    let device = key("p", "d");
    let closed = |error| assert!(matches!(error, StoreError::Closed), "{error}");
    closed(kind.port().load(std::slice::from_ref(&device)).await.unwrap_err());
    closed(kind.port().commit(&[write(&device, 0, 1)]).await.unwrap_err());
    closed(kind.port().list(None, None, 1).await.unwrap_err());
    closed(kind.port().due(DueKind::Call, 0, 1).await.unwrap_err());
}

/// A record in which a call is due at that time, if at any; and the name of who wrote it.
fn waiting(at_ms: Option<i64>, service: &str) -> Record {
    let mut record = Record::default();
    record.calls.extend(at_ms.map(|at_ms| {
        let service = service.to_owned();
        (CallId(1), PendingCall { service, request: None, rule: None, deadline_ms: at_ms - 1 })
    }));
    record
}

/// Makes what is due in the device's record so, whatever it was.
async fn wait_until(store: &impl Store, device: &DeviceKey, at_ms: Option<i64>, who: &str) {
    loop {
        let Stored { record, revision } = load(store, device).await;
        let (device, due_before) = (device.clone(), record.due_times());
        let record = waiting(at_ms, who);
        let write = Write { device, expected_revision: revision, record, due_before };
        match store.commit(&[write]).await.unwrap()[..] {
            [Committed::Done { .. }] => return,
            _ => tokio::task::yield_now().await,
        }
    }
}

async fn due(store: &impl Store, now_ms: i64, count_max: usize) -> Vec<(DeviceKey, i64)> {
    store.due(DueKind::Call, now_ms, count_max).await.unwrap()
}

pub(crate) async fn what_is_due_is_found_earliest_first<K: Kind<Port: Store>>() {
    let kind = K::fresh(wide()).await;
    let store = kind.port();
    assert_eq!(due(store, i64::MAX, 10).await, []);
    let (a, b, c, d) = (key("p", "a"), key("q", "设备"), key("p", "c"), key("p", "d"));
    for (device, at_ms) in [(&a, 30), (&b, 10), (&c, 20), (&d, 20)] {
        wait_until(store, device, Some(at_ms), "law").await;
    }
    wait_until(store, &key("p", "idle"), None, "law").await;
    let all = [(b, 10), (c, 20), (d, 20), (a, 30)];
    assert_eq!(due(store, 9, 10).await, []);
    assert_eq!(due(store, 10, 10).await, all[..1]);
    assert_eq!(due(store, 29, 10).await, all[..3]);
    assert_eq!(due(store, 1000, 10).await, all);
    assert_eq!(due(store, 1000, 2).await, all[..2]);
    assert_eq!(due(store, 1000, 0).await, []);
    assert_eq!(store.due(DueKind::Reminder, 1000, 10).await.unwrap(), []);
}

pub(crate) async fn what_is_due_is_what_the_last_record_says<K: Kind<Port: Store>>() {
    let kind = K::fresh(wide()).await;
    let (store, device) = (kind.port(), key("p", "d"));
    for at_ms in [Some(50), Some(20), Some(90), None, Some(70), Some(70), None, None, Some(5)] {
        wait_until(store, &device, at_ms, "law").await;
        let expected: Vec<_> = at_ms.map(|at_ms| (device.clone(), at_ms)).into_iter().collect();
        for now_ms in [4, 5, 19, 20, 69, 70, 100] {
            let seen = due(store, now_ms, 10).await;
            assert_eq!(seen.len(), usize::from(at_ms.is_some_and(|at_ms| at_ms <= now_ms)));
        }
        assert_eq!(due(store, 100, 10).await, expected);
    }
}

pub(crate) async fn a_write_that_conflicts_makes_nothing_due<K: Kind<Port: Store>>() {
    let kind = K::fresh(wide()).await;
    let (store, device) = (kind.port(), key("p", "d"));
    wait_until(store, &device, Some(50), "law").await;
    for (expected_revision, at_ms) in [(0, Some(10)), (7, Some(20)), (0, None)] {
        let (device, record) = (device.clone(), waiting(at_ms, "late"));
        let write = Write { device, expected_revision, record, due_before: DueTimes::default() };
        assert_eq!(store.commit(&[write]).await.unwrap(), [Committed::Conflict]);
    }
    assert_eq!(due(store, 49, 10).await, []);
    assert_eq!(due(store, 50, 10).await, [(device, 50)]);
}

pub(crate) async fn what_is_due_survives_a_reopen<K: Kind<Port: Store>>() {
    let kind = K::fresh(wide()).await;
    let (a, b) = (key("p", "a"), key("p", "设备"));
    wait_until(kind.port(), &a, Some(10), "law").await;
    wait_until(kind.port(), &a, None, "law").await;
    wait_until(kind.port(), &b, Some(20), "law").await;
    let Some(kind) = kind.reopen().await else { return };
    assert_eq!(due(kind.port(), 100, 10).await, [(b, 20)]);
}

/// While some write and others search, which is when indexes are corrected, nothing that is due is
/// lost from sight.
pub(crate) async fn racing_writers_and_searches_lose_nothing_due<K: Kind<Port: Store>>() {
    let kind = K::fresh(wide()).await;
    let devices = ["a", "b", "c"].map(|name| key("p", name));
    let mut running = tokio::task::JoinSet::new();
    for writer in 0..4_i64 {
        let (store, devices) = (kind.port().clone(), devices.clone());
        running.spawn(async move {
            for round in 0..30_i64 {
                // Early, late and none follow each other in another order for each writer.
                let at_ms = (round * 7 + writer * 5) % 11;
                let at_ms = (at_ms > 3).then_some(at_ms);
                let device = &devices[(round + writer) as usize % devices.len()];
                wait_until(&store, device, at_ms, "racer").await;
            }
        });
    }
    for _ in 0..2 {
        let store = kind.port().clone();
        running.spawn(async move {
            for round in 0..60_i64 {
                due(&store, round % 12, 10).await;
            }
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
    let mut expected = Vec::new();
    for device in devices {
        let times = load(kind.port(), &device).await.record.due_times();
        expected.extend(times.call.map(|at_ms| (device, at_ms)));
    }
    expected.sort_by_key(|(device, at_ms)| (*at_ms, device.clone()));
    assert_eq!(due(kind.port(), 100, 10).await, expected);
}

pub(crate) async fn what_is_erased_never_was<K: Kind<Port: Store>>() {
    let kind = K::fresh(wide()).await;
    let devices = ["a", "b", "c"].map(|name| key("p", name));
    let writes: Vec<_> = devices.iter().map(|device| write(device, 0, 1)).collect();
    kind.port().commit(&writes).await.unwrap();
    kind.port().erase(&[devices[0].clone(), devices[2].clone(), key("p", "none")]).await.unwrap();
    let assert_erased = async |store: &K::Port| {
        let listed = store.list(None, None, 10).await.unwrap().devices;
        assert_eq!(listed, [devices[1].clone()]);
        assert_eq!(load(store, &devices[0]).await, Stored::default());
    };
    assert_erased(kind.port()).await;
    let Some(kind) = kind.reopen().await else { return };
    assert_erased(kind.port()).await;
    let answer = kind.port().commit(&[write(&devices[0], 0, 7)]).await.unwrap();
    assert_eq!(answer, [Committed::Done { revision: 1 }]);
    assert_eq!(kind.port().list(None, None, 10).await.unwrap().devices.len(), 2);
}
