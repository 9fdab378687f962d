//! The judge: compares what a world left behind with the model, and with an uninterrupted run over
//! the same log.

use std::collections::{BTreeMap, BTreeSet};

use gnomon_host::dead::DeadLetter;
use gnomon_host::downlink::Downlink;
use gnomon_host::port::{Delivery, Log, Queue, Store, Stream};
use gnomon_model::{DeviceKey, Record};
use gnomon_telemetry::Telemetry;
use serde_json::Value;

use crate::calm::calm;
use crate::model::{Device, Fate, Told, raised_by, same};
use crate::rig::Rig;
use crate::script::{PARTITIONS, Spoken};

pub(crate) const DOWNLINK: Log = Log { stream: Stream::Downlink, partition: 0 };
pub(crate) const DEAD: Log = Log { stream: Stream::Dead, partition: 0 };
const FUNCTION: &str = "telemetry";

/// A world at one moment.
pub(crate) struct Snapshot {
    /// Messages in each telemetry log, and how many of them are acknowledged.
    received: Vec<(u64, u64)>,
    /// How many acknowledgements of workers had taken effect.
    acknowledged: usize,
    /// Ids among the dead letters.
    dead: Vec<String>,
    /// Ids in the downlink log.
    told: Vec<String>,
    /// Records of all devices.
    records: BTreeMap<DeviceKey, Record>,
}

impl Snapshot {
    /// Looks at a world, whatever is going on in it.
    pub(crate) async fn take(rig: &Rig) -> Self {
        let mut received = Vec::new();
        for partition in 0..PARTITIONS {
            let counts = rig.counts(Log { stream: Stream::Telemetry, partition }).await.unwrap();
            received.push((counts.appended, counts.acknowledged));
        }
        let ids = |log: Vec<Delivery>| log.into_iter().map(|one| one.id).collect();
        Self {
            received,
            acknowledged: rig.effective(|effective| effective.acknowledged.len()),
            dead: ids(rig.all(DEAD).await),
            told: ids(rig.all(DOWNLINK).await),
            records: records(&rig.memory).await,
        }
    }
}

/// All records of a store.
pub(crate) async fn records(store: &impl Store) -> BTreeMap<DeviceKey, Record> {
    let devices = store.list(None, None, 1000).await.unwrap().devices;
    let stored = store.load(&devices).await.unwrap();
    devices.into_iter().zip(stored).map(|(device, stored)| (device, stored.record)).collect()
}

/// One message as the queue took it, and what must become of it.
pub(crate) struct Taken<'a> {
    pub(crate) log: Log,
    pub(crate) delivery: Delivery,
    pub(crate) spoken: &'a Spoken,
    pub(crate) fate: Fate,
    /// Its device after it.
    after: Device,
}

/// What the model says about the messages in the order in which the queue took them.
pub(crate) struct Expected<'a> {
    pub(crate) taken: Vec<Taken<'a>>,
    devices: BTreeMap<DeviceKey, Device>,
}

impl<'a> Expected<'a> {
    async fn read(rig: &Rig, script: &'a [Vec<Spoken>]) -> Result<Self, String> {
        let known: BTreeMap<&str, &Spoken> =
            script.iter().flatten().map(|spoken| (spoken.id.as_str(), spoken)).collect();
        let mut devices: BTreeMap<DeviceKey, Device> = BTreeMap::new();
        let (mut taken, mut seen) = (Vec::new(), BTreeSet::new());
        for partition in 0..PARTITIONS {
            let log = Log { stream: Stream::Telemetry, partition };
            for delivery in rig.all(log).await {
                if !seen.insert(delivery.id.clone()) {
                    return Err(format!("{log} took {} twice", delivery.id));
                }
                let spoken = known[delivery.id.as_str()];
                let device = devices.entry(spoken.device.clone()).or_default();
                let fate = device.hear(spoken);
                taken.push(Taken { log, delivery, spoken, fate, after: device.clone() });
            }
        }
        Ok(Self { taken, devices })
    }

    fn of_partition(&self, partition: u16) -> impl Iterator<Item = &Taken<'a>> {
        self.taken.iter().filter(move |one| one.log.partition == partition)
    }
}

/// Judges a world that has come to rest.
pub(crate) async fn judge(
    telemetry: &Telemetry,
    rig: &Rig,
    script: &[Vec<Spoken>],
    snapshots: &[Snapshot],
) -> Result<(), String> {
    let expected = Expected::read(rig, script).await?;
    nothing_acknowledged_is_lost(rig, &expected)?;
    dead_letters(&rig.all(DEAD).await, &expected)?;
    alerts(&rig.all(DOWNLINK).await, &expected)?;
    commits_follow_the_log(rig, &expected)?;
    let calm = calm(telemetry, &expected).await?;
    as_if_nothing_had_happened(rig, &calm, &expected).await?;
    let acknowledged = rig.effective(|effective| effective.acknowledged.clone());
    for (number, snapshot) in snapshots.iter().enumerate() {
        equation(snapshot, &acknowledged[..snapshot.acknowledged], &expected, &calm.effects)
            .map_err(|wrong| format!("snapshot {number} of {}: {wrong}", snapshots.len()))?;
    }
    Ok(())
}

/// What the gateway acknowledged to a device is in the queue.
fn nothing_acknowledged_is_lost(rig: &Rig, expected: &Expected<'_>) -> Result<(), String> {
    let taken: BTreeSet<&str> = expected.taken.iter().map(|one| one.spoken.id.as_str()).collect();
    let told = rig.effective(|effective| effective.acknowledged_to_device.clone());
    match told.iter().find(|id| !taken.contains(id.as_str())) {
        Some(id) => Err(format!("{id} was acknowledged to the device and is not in the queue")),
        None => Ok(()),
    }
}

/// Name of the dead letter of a message.
fn letter_id(taken: &Taken<'_>) -> String {
    let id = &taken.spoken.id;
    if taken.delivery.body.starts_with(b"{") { format!("{id}.dead") } else { format!("dead-{id}") }
}

/// One dead letter for each message that must have one, with a reason and the payload; no other.
fn dead_letters(letters: &[Delivery], expected: &Expected<'_>) -> Result<(), String> {
    let mut found: Vec<String> = letters.iter().map(|letter| letter.id.clone()).collect();
    found.sort();
    let dead = expected.taken.iter().filter(|one| one.fate == Fate::Dead);
    let mut wanted: Vec<String> = dead.map(letter_id).collect();
    wanted.sort();
    same("dead letters", &found, &wanted)?;
    for letter in letters {
        let letter = DeadLetter::decode(&letter.body).map_err(|error| error.to_string())?;
        if letter.reason.is_empty() || letter.function != FUNCTION {
            return Err(format!("a dead letter without reason or function: {letter:?}"));
        }
    }
    Ok(())
}

/// The alerts that people were told of, device by device: each change once, in order.
fn alerts(downlink: &[Delivery], expected: &Expected<'_>) -> Result<(), String> {
    let mut found: BTreeMap<DeviceKey, Vec<Told>> = BTreeMap::new();
    for delivery in downlink {
        let downlink = Downlink::decode(&delivery.body).map_err(|error| error.to_string())?;
        if !downlink.topic.ends_with("/alerts") {
            continue;
        }
        let body: Value =
            serde_json::from_slice(&downlink.payload).map_err(|error| error.to_string())?;
        let text = |key: &str| body[key].as_str().unwrap_or_default();
        let device = DeviceKey::parse(text("product"), text("device")).unwrap();
        let status = serde_json::from_value(body["status"].clone()).unwrap();
        let told = (raised_by(text("id")).to_owned(), text("alert").to_owned(), status);
        found.entry(device).or_default().push(told);
    }
    for (device, model) in &expected.devices {
        let found = found.remove(device).unwrap_or_default();
        same(&format!("alerts of {device}"), &found, &model.told)?;
    }
    Ok(())
}

/// Every record that was ever committed is the model's after the position that it names, and the
/// positions of a device only grow.
fn commits_follow_the_log(rig: &Rig, expected: &Expected<'_>) -> Result<(), String> {
    let mut reached: BTreeMap<&DeviceKey, u64> = BTreeMap::new();
    let commits = rig.effective(|effective| effective.commits.clone());
    for (device, record) in &commits {
        let position = position(record);
        let before = reached.insert(device, position).unwrap_or(0);
        if position <= before {
            return Err(format!("{device} committed at {position} after {before}"));
        }
        let taken = expected.taken.iter();
        let mut of_device = taken.filter(|one| one.spoken.device == *device);
        let Some(taken) = of_device.find(|one| one.delivery.position == position) else {
            return Err(format!("{device} committed at {position}, where it has no message"));
        };
        let is_room = taken.spoken.is_room();
        taken
            .after
            .compare(record, is_room)
            .map_err(|wrong| format!("{device} committed at {position}: {wrong}"))?;
    }
    Ok(())
}

fn position(record: &Record) -> u64 {
    record.ledgers.get(FUNCTION).map_or(0, |ledger| ledger.position)
}

/// What an uninterrupted run over the same log leaves behind.
pub(crate) struct Calm {
    pub(crate) records: BTreeMap<DeviceKey, Record>,
    pub(crate) downlink: Vec<Delivery>,
    pub(crate) dead: Vec<Delivery>,
    /// Message to the ids of its effects, dead letter included.
    pub(crate) effects: BTreeMap<String, Vec<String>>,
}

/// Records, messages to topics and dead letters are those of an uninterrupted run, byte for byte.
/// Not compared: the outbox, which tells what was in one batch, and the order across devices.
async fn as_if_nothing_had_happened(
    rig: &Rig,
    calm: &Calm,
    expected: &Expected<'_>,
) -> Result<(), String> {
    let lived = records(&rig.memory).await;
    same("devices with a record", &bytes_of(&lived), &bytes_of(&calm.records))?;
    let (downlink, dead) = (rig.all(DOWNLINK).await, rig.all(DEAD).await);
    for device in expected.devices.keys() {
        let of = |log: &[Delivery]| of_device(log, device, expected);
        same(&format!("told of {device}"), &of(&downlink), &of(&calm.downlink))?;
        // A letter about bytes that are no envelope concerns no device, and may pass others.
        let sorted = |mut letters: Vec<String>| {
            letters.sort();
            letters
        };
        let (letters, calm) = (sorted(of(&dead)), sorted(of(&calm.dead)));
        same(&format!("dead letters of {device}"), &letters, &calm)?;
    }
    same("messages to topics", &downlink.len(), &calm.downlink.len())
}

fn bytes_of(records: &BTreeMap<DeviceKey, Record>) -> Vec<(String, String)> {
    let bytes = |(device, record): (&DeviceKey, &Record)| {
        let mut record = record.clone();
        record.ledgers.values_mut().for_each(|ledger| ledger.outbox.clear());
        (device.to_string(), String::from_utf8_lossy(&record.encode()).into_owned())
    };
    records.iter().map(bytes).collect()
}

/// Ids and bytes of what a device's messages led to, in order.
fn of_device(log: &[Delivery], device: &DeviceKey, expected: &Expected<'_>) -> Vec<String> {
    let is_of = |delivery: &&Delivery| {
        let cause = cause(&delivery.id);
        expected.taken.iter().any(|one| one.spoken.id == cause && one.spoken.device == *device)
    };
    let shown = |one: &Delivery| format!("{} {}", one.id, String::from_utf8_lossy(&one.body));
    log.iter().filter(is_of).map(shown).collect()
}

/// The message that an effect comes from.
pub(crate) fn cause(effect: &str) -> &str {
    match effect.strip_prefix("dead-") {
        Some(message) => message,
        None => effect.rsplit_once('.').map_or(effect, |(message, _)| message),
    }
}

/// Received = applied + dead + pending in each partition, at any moment; and what is acknowledged
/// is not pending: it is applied with its effects sent, or dead.
fn equation(
    snapshot: &Snapshot,
    acknowledged: &[(u16, u64)],
    expected: &Expected<'_>,
    effects: &BTreeMap<String, Vec<String>>,
) -> Result<(), String> {
    let acknowledged: BTreeSet<(u16, u64)> = acknowledged.iter().copied().collect();
    let dead: BTreeSet<&str> = snapshot.dead.iter().map(String::as_str).collect();
    let sent: BTreeSet<&str> =
        snapshot.told.iter().map(String::as_str).chain(dead.clone()).collect();
    for partition in 0..PARTITIONS {
        let (received, settled) = snapshot.received[usize::from(partition)];
        let (mut applied, mut buried, mut pending) = (0, 0, 0);
        for one in expected.of_partition(partition).take(received as usize) {
            let record = snapshot.records.get(&one.spoken.device);
            let passed = record.is_some_and(|record| one.delivery.position <= position(record));
            let acked = acknowledged.contains(&(partition, one.delivery.position));
            match one.fate {
                Fate::Applied if passed => applied += 1,
                Fate::Ignored if acked => applied += 1,
                Fate::Dead if dead.contains(letter_id(one).as_str()) => buried += 1,
                Fate::Applied | Fate::Ignored | Fate::Dead => pending += 1,
            }
            let id = one.spoken.id.as_str();
            let all_sent = || effects[id].iter().all(|effect| sent.contains(effect.as_str()));
            if acked && one.fate == Fate::Applied && !passed {
                return Err(format!("{id} is acknowledged and not applied"));
            }
            if acked && !all_sent() {
                return Err(format!(
                    "{id} is acknowledged before all of {:?} is sent",
                    effects[id]
                ));
            }
        }
        let acked = acknowledged.iter().filter(|(of, _)| *of == partition).count() as u64;
        same("acknowledged", &acked, &settled)?;
        same("received", &(applied + buried + pending), &received)?;
        if pending > received - settled {
            return Err(format!(
                "{pending} neither applied nor dead, {} pending",
                received - settled
            ));
        }
    }
    // What the records themselves say that they have applied.
    let counted: u64 = snapshot.records.values().map(|record| record.counts.applied).sum();
    let passed = expected.taken.iter().filter(|one| {
        let record = snapshot.records.get(&one.spoken.device);
        let passed = record.is_some_and(|record| one.delivery.position <= position(record));
        passed && one.fate == Fate::Applied
    });
    same("applied, as the records count", &counted, &(passed.count() as u64))
}
