//! The driver: load, step, commit, publish. The only async code that touches store and queue both.
//!
//! Invariants: the effects of an input are published only after its record is committed, and the
//! input is settled (acknowledged, by the caller) only after its effects are published. So a crash
//! anywhere is healed by delivering the input again: it is known as applied, and its effects are
//! published again under the same ids.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use gnomon_model::{DeviceKey, Envelope, Outgoing, Reject, RejectKind};
use tracing::{error, warn};

use crate::dead::DeadLetter;
use crate::downlink::Downlink;
use crate::function::Function;
use crate::port::{
    Committed, Delivery, Log, Message, Queue, Store, StoreError, Stored, Stream, Write,
};
use crate::steps::{Input, Source, Stepped, step_device};
use crate::watch::Watch;

/// Most records kept between batches by one worker.
const RECORDS_CACHED_MAX: usize = 8192;
/// How often a batch is decided again after somebody else wrote a record first.
const CONFLICT_ROUNDS_MAX: usize = 16;

/// What becomes of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Applied, its effects are published: acknowledge it.
    Ack,
    /// Store or queue did not answer: deliver it again, before later ones of its device.
    Retry,
    /// Can never be applied, and stands among the dead letters: acknowledge it.
    Dead(Reject),
}

/// Drives batches of one log through one function.
#[derive(Debug)]
pub struct Driver<S, Q> {
    store: S,
    queue: Q,
    watch: Watch,
    /// Records as last committed by this worker. Only a shortcut: the store's compare-and-set
    /// decides whether one is current, so what leads to no write is decided on a loaded one.
    records: HashMap<DeviceKey, Stored>,
}

/// The inputs of one device in one batch, and where each stands in the batch.
struct Group {
    device: DeviceKey,
    inputs: Vec<Input>,
    slots: Vec<usize>,
    /// Positions of inputs on which a step panicked.
    poison: BTreeSet<u64>,
}

/// Where a record comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    /// The cache: others may have written it since.
    Cached,
    /// The store, a moment ago.
    Loaded,
}

type Loaded = (Result<Stored, Reject>, Age);

impl Group {
    fn new(device: DeviceKey) -> Self {
        Self { device, inputs: Vec::new(), slots: Vec::new(), poison: BTreeSet::new() }
    }
}

impl<S: Store, Q: Queue> Driver<S, Q> {
    /// Makes a driver without any record cached.
    #[must_use]
    pub fn new(store: S, queue: Q, watch: Watch) -> Self {
        Self { store, queue, watch, records: HashMap::new() }
    }

    /// Drives a batch: deliveries of one log in order. Returns one verdict per delivery; all
    /// deliveries of one device from a `Retry` on are `Retry`.
    pub async fn drive<F: Function>(
        &mut self,
        function: &F,
        source: &Source,
        batch: &[Delivery],
    ) -> Vec<Verdict> {
        let mut verdicts = vec![Verdict::Retry; batch.len()];
        let (mut groups, mut outgoing) = self.sort::<F>(source, batch, &mut verdicts);
        for _ in 0..CONFLICT_ROUNDS_MAX {
            groups = self.round(function, source, groups, &mut verdicts, &mut outgoing).await;
            if groups.is_empty() {
                break;
            }
        }
        if !self.publish(outgoing).await {
            // Records are committed and remember what is unsent: nothing is settled yet.
            verdicts.fill(Verdict::Retry);
        }
        self.watch.settled(F::NAME, &verdicts);
        verdicts
    }

    /// Decodes the deliveries and groups them by device; what is no envelope is dead at once.
    fn sort<F: Function>(
        &self,
        source: &Source,
        batch: &[Delivery],
        verdicts: &mut [Verdict],
    ) -> (Vec<Group>, Vec<Message>) {
        let mut groups: Vec<Group> = Vec::new();
        let mut index: HashMap<DeviceKey, usize> = HashMap::new();
        let mut outgoing = Vec::new();
        for (slot, delivery) in batch.iter().enumerate() {
            match Envelope::decode(&delivery.body) {
                Ok(envelope) => {
                    let at = *index.entry(envelope.device.clone()).or_insert_with(|| {
                        let device = envelope.device.clone();
                        groups.push(Group::new(device));
                        groups.len() - 1
                    });
                    groups[at].inputs.push(Input { position: delivery.position, envelope });
                    groups[at].slots.push(slot);
                }
                Err(error) => {
                    let reject = Reject::new(RejectKind::Internal, format!("{error:?}"));
                    let origin = source.position(delivery.position);
                    outgoing.push(address(undecodable(F::NAME, &origin, delivery, &reject), None));
                    verdicts[slot] = Verdict::Dead(reject);
                }
            }
        }
        (groups, outgoing)
    }

    /// Loads, steps and commits all groups once; returns those that must be decided again because
    /// somebody else wrote first. Groups whose store did not answer stay at `Retry`.
    async fn round<F: Function>(
        &mut self,
        function: &F,
        source: &Source,
        groups: Vec<Group>,
        verdicts: &mut [Verdict],
        outgoing: &mut Vec<Message>,
    ) -> Vec<Group> {
        let Some(loaded) = self.load(&groups).await else { return Vec::new() };
        let mut decided = Vec::with_capacity(groups.len());
        let mut again = Vec::new();
        for (mut group, (stored, age)) in groups.into_iter().zip(loaded) {
            match stored {
                Ok(stored) => {
                    match step_device(function, source, &group.inputs, stored, &group.poison) {
                        // Nothing would tell that another function has written the record since.
                        Ok(stepped) if !stepped.changed && age == Age::Cached => again.push(group),
                        Ok(stepped) => decided.push((group, stepped)),
                        Err(position) => {
                            // The record went down with the step: load it, and leave this input out.
                            error!(function = F::NAME, device = %group.device, position, "step panicked");
                            group.poison.insert(position);
                            again.push(group);
                        }
                    }
                }
                Err(reject) => {
                    let stepped = Stepped::all_dead::<F>(source, &group.inputs, &reject);
                    decided.push((group, stepped));
                }
            }
        }
        again.extend(self.commit(decided, verdicts, outgoing).await);
        again
    }

    /// Takes the groups' records out of the cache, and loads the others in one round trip. None
    /// when the store does not answer.
    async fn load(&mut self, groups: &[Group]) -> Option<Vec<Loaded>> {
        let cached = |record: Stored| (Ok(record), Age::Cached);
        let mut found: Vec<Option<Loaded>> =
            groups.iter().map(|group| self.records.remove(&group.device).map(cached)).collect();
        loop {
            let missing: Vec<usize> = (0..groups.len()).filter(|at| found[*at].is_none()).collect();
            if missing.is_empty() {
                break;
            }
            let devices: Vec<_> = missing.iter().map(|at| groups[*at].device.clone()).collect();
            match self.store.load(&devices).await {
                Ok(loaded) => {
                    for (at, stored) in missing.into_iter().zip(loaded) {
                        found[at] = Some((Ok(stored), Age::Loaded));
                    }
                }
                Err(StoreError::Damaged { device, reason }) => {
                    let damaged = missing.into_iter().find(|at| groups[*at].device == device)?;
                    let reject = format!("record of {device} cannot be read: {reason}");
                    let reject = Reject::new(RejectKind::Internal, reject);
                    found[damaged] = Some((Err(reject), Age::Loaded));
                }
                Err(error) => {
                    warn!(error = %error, "load records");
                    return None;
                }
            }
        }
        found.into_iter().collect()
    }

    /// Commits what changed, in one round trip.
    async fn commit(
        &mut self,
        decided: Vec<(Group, Stepped)>,
        verdicts: &mut [Verdict],
        outgoing: &mut Vec<Message>,
    ) -> Vec<Group> {
        let mut writes = Vec::new();
        let mut waiting = Vec::new();
        let mut again = Vec::new();
        for (group, mut stepped) in decided {
            let (device, revision) = (group.device.clone(), stepped.stored.revision);
            if stepped.changed {
                let record = std::mem::take(&mut stepped.stored.record);
                let due_before = stepped.due_before;
                writes.push(Write { device, expected_revision: revision, record, due_before });
                waiting.push((group, stepped));
            } else {
                self.settle(&group, stepped, verdicts, outgoing);
            }
        }
        let committed =
            if writes.is_empty() { Ok(Vec::new()) } else { self.store.commit(&writes).await };
        let committed = match committed {
            Ok(committed) => committed,
            Err(error) => {
                warn!(error = %error, "commit records");
                return again;
            }
        };
        for (((group, mut stepped), write), result) in
            waiting.into_iter().zip(writes).zip(committed)
        {
            match result {
                Committed::Done { revision } => {
                    stepped.stored = Stored { record: write.record, revision };
                    self.settle(&group, stepped, verdicts, outgoing);
                }
                Committed::Conflict => {
                    self.watch.conflict();
                    again.push(group);
                }
            }
        }
        again
    }

    /// Notes what became of a group whose record is as it should be.
    fn settle(
        &mut self,
        group: &Group,
        stepped: Stepped,
        verdicts: &mut [Verdict],
        outgoing: &mut Vec<Message>,
    ) {
        for (slot, verdict) in group.slots.iter().zip(stepped.verdicts) {
            verdicts[*slot] = verdict;
        }
        self.watch.notes(&group.device, &stepped.notes);
        let device = Some(&group.device);
        outgoing.extend(stepped.outgoing.into_iter().map(|one| address(one, device)));
        if self.records.len() >= RECORDS_CACHED_MAX {
            self.records.clear();
        }
        if stepped.stored.revision > 0 {
            self.records.insert(group.device.clone(), stepped.stored);
        }
    }

    /// Publishes effects; true once the queue has them.
    async fn publish(&self, outgoing: Vec<Message>) -> bool {
        if outgoing.is_empty() {
            return true;
        }
        let most = self.queue.body_bytes_max();
        let fitting = |message: Message| match message.body.len() > most {
            true => too_large(&message, most),
            false => message,
        };
        match self.queue.append(outgoing.into_iter().map(fitting).collect()).await {
            Ok(()) => true,
            Err(error) => {
                warn!(error = %error, "publish effects");
                false
            }
        }
    }
}

/// Gives an effect of a device's step its place in the queue.
fn address(outgoing: Outgoing, device: Option<&DeviceKey>) -> Message {
    use gnomon_model::Destination::{Caller, Dead, Topic};
    let (stream, body) = match &outgoing.to {
        Topic { topic, qos } => {
            let payload = Bytes::copy_from_slice(outgoing.payload.as_bytes());
            (Stream::Downlink, Downlink::new(topic, *qos, payload).encode())
        }
        Caller { .. } => {
            let body = serde_json::to_vec(&outgoing).expect("an effect has a JSON form");
            (Stream::Answers, Bytes::from(body))
        }
        Dead => (Stream::Dead, Bytes::from(outgoing.payload.into_bytes())),
    };
    let log = Log { stream, partition: 0 };
    Message { log, id: outgoing.id, device: device.cloned(), body }
}

/// What stands in for an effect that the queue can never take: a dead letter with its beginning.
fn too_large(message: &Message, most: usize) -> Message {
    const SHOWN_BYTES: usize = 1024;
    let (log, bytes) = (message.log, message.body.len());
    let reason =
        format!("effect {} of {bytes} bytes for {log}: the queue takes {most}", message.id);
    error!(log = %log, bytes, most, id = message.id, "effect is too large for the queue");
    let reject = Reject::new(RejectKind::Internal, reason);
    let shown = message.body.slice(..bytes.min(SHOWN_BYTES));
    let letter = DeadLetter::undecodable(&shown, &reject, "driver", &message.id);
    Message {
        log: Log { stream: Stream::Dead, partition: 0 },
        id: format!("{}.large", message.id),
        device: message.device.clone(),
        body: Bytes::from(letter.encode()),
    }
}

fn undecodable(function: &str, origin: &str, delivery: &Delivery, reject: &Reject) -> Outgoing {
    let letter = DeadLetter::undecodable(&delivery.body, reject, function, origin);
    // Whoever appended it may have given no id; letters of one id would be taken for one.
    let own = if delivery.id.is_empty() { origin } else { &delivery.id };
    let id = format!("dead-{own}");
    Outgoing { id, to: gnomon_model::Destination::Dead, payload: letter.encode() }
}
