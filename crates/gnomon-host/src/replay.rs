//! Replay: the records that a queue's acknowledged inputs lead to, made again by the same steps.
//!
//! Order: partition by partition. In each, the heads of the four logs of inputs are compared, and the
//! one received first (`received_at_ms`, then telemetry, shadow, calls, alerts) is stepped; within
//! a log, positions keep their order. So equal logs give equal records.
//!
//! Invariants: an input that a record's ledger knows is not stepped again, so a replay may be repeated,
//! and may begin with the records of a backup; what is not acknowledged is left to the workers.
//! Never: an effect.

use std::collections::{BTreeSet, HashMap, VecDeque};

use gnomon_model::{DeviceKey, Envelope};

use crate::function::Function;
use crate::port::{
    Committed, Log, Progress, Queue, QueueError, Store, StoreError, Stored, Stream, Write,
};
use crate::steps::{Input, Source, step_device};

/// Streams whose inputs make records, in the order of their turn at equal times.
pub const STREAMS: [Stream; 4] = [Stream::Telemetry, Stream::Shadow, Stream::Calls, Stream::Alerts];

/// Messages read at once from one log, and inputs stepped between two commits.
const CHUNK: usize = 1024;
/// How often a chunk is decided again after somebody else wrote one of its records.
const ROUNDS_MAX: usize = 16;

/// What a replay did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replayed {
    /// Acknowledged inputs that the logs hold.
    pub inputs: u64,
    /// Of those, the ones that changed a record.
    pub changed: u64,
    /// Of those, the ones that a record knew already.
    pub known: u64,
}

/// Why a replay did not come to its end; what was committed stays, and the next one goes on there.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The queue did not answer.
    #[error("read the queue")]
    Queue(#[from] QueueError),
    /// The store did not answer, or a record of it cannot be read.
    #[error("read and write records")]
    Store(#[from] StoreError),
    /// Workers write at the same time.
    #[error("records change under the replay: stop the workers")]
    Contended,
}

/// The functions whose steps are made again.
pub trait Steps {
    /// Makes the step of the function that reads the stream.
    fn step(&self, stream: Stream, source: &Source, input: &Input, stored: Stored) -> Again;
}

/// What one step came to.
#[derive(Debug)]
pub struct Again {
    /// The record after it, with nothing to send for this input.
    pub stored: Stored,
    /// Whether it changed.
    pub changed: bool,
    /// Whether the record knew the input.
    pub known: bool,
}

/// Makes one step of one function again. What it would send is dropped: the input is acknowledged, so
/// it was sent.
pub fn step_again<F: Function>(
    function: &F,
    source: &Source,
    input: &Input,
    stored: Stored,
) -> Again {
    let ledger = stored.record.ledgers.get(F::NAME);
    if ledger.is_some_and(|ledger| ledger.has_applied(&source.log_id, input.position)) {
        return Again { stored, changed: false, known: true };
    }
    let inputs = std::slice::from_ref(input);
    let stepped = step_device(function, source, inputs, stored.clone(), &BTreeSet::new());
    let stepped = stepped.or_else(|position| {
        step_device(function, source, inputs, stored.clone(), &BTreeSet::from([position]))
    });
    match stepped {
        Ok(mut stepped) if stepped.changed => {
            if let Some(ledger) = stepped.stored.record.ledgers.get_mut(F::NAME) {
                ledger.settle(&source.log_id, input.position + 1);
            }
            Again { stored: stepped.stored, changed: true, known: false }
        }
        // A refused input does not step, so the second try cannot fail.
        Ok(_) | Err(_) => Again { stored, changed: false, known: false },
    }
}

/// Logs that no longer hold their first message, with the oldest position that they hold.
///
/// # Errors
/// The queue did not answer.
pub async fn cut_logs<Q: Queue>(queue: &Q) -> Result<Vec<(Log, u64)>, QueueError> {
    let mut cut = Vec::new();
    for stream in STREAMS {
        for partition in 0..queue.partitions() {
            let log = Log { stream, partition };
            let first = queue.progress(log).await?.first;
            if first > 1 {
                cut.push((log, first));
            }
        }
    }
    Ok(cut)
}

/// Replays every log into the store. `told` learns how many inputs are done.
///
/// # Errors
/// See [`ReplayError`]; it may be called again.
pub async fn replay<Q: Queue, S: Store>(
    queue: &Q,
    store: &S,
    steps: &impl Steps,
    mut told: impl FnMut(u64),
) -> Result<Replayed, ReplayError> {
    let mut replayed = Replayed::default();
    for partition in 0..queue.partitions() {
        let mut readers = Vec::with_capacity(STREAMS.len());
        for stream in STREAMS {
            readers.push(Reader::open(queue, Log { stream, partition }).await?);
        }
        loop {
            let chunk = next_chunk(queue, &mut readers).await?;
            if chunk.is_empty() {
                break;
            }
            replayed.inputs += chunk.len() as u64;
            apply(store, steps, &readers, chunk, &mut replayed).await?;
            told(replayed.inputs);
        }
    }
    Ok(replayed)
}

/// The acknowledged inputs of one log, in order.
struct Reader {
    stream: Stream,
    source: Source,
    progress: Progress,
    next: u64,
    waiting: VecDeque<Input>,
}

impl Reader {
    async fn open<Q: Queue>(queue: &Q, log: Log) -> Result<Self, QueueError> {
        let progress = queue.progress(log).await?;
        let source = Source { log, log_id: progress.log_id.clone() };
        let next = progress.first;
        Ok(Self { stream: log.stream, source, progress, next, waiting: VecDeque::new() })
    }

    /// Reads on until an input waits or none is left.
    async fn fill<Q: Queue>(&mut self, queue: &Q) -> Result<(), QueueError> {
        while self.waiting.is_empty() && self.next <= self.progress.last() {
            let some = queue.read(self.source.log, self.next, CHUNK).await?;
            let Some(last) = some.last() else { break };
            self.next = last.position + 1;
            for delivery in some {
                let position = delivery.position;
                if !self.progress.is_acknowledged(position) {
                    continue;
                }
                // What is no envelope is dead, and was never stepped.
                if let Ok(envelope) = Envelope::decode(&delivery.body) {
                    self.waiting.push_back(Input { position, envelope });
                }
            }
        }
        Ok(())
    }
}

/// The next inputs of a partition in order, each with the place of its reader.
async fn next_chunk<Q: Queue>(
    queue: &Q,
    readers: &mut [Reader],
) -> Result<Vec<(usize, Input)>, QueueError> {
    let mut chunk = Vec::new();
    while chunk.len() < CHUNK {
        for reader in readers.iter_mut() {
            reader.fill(queue).await?;
        }
        let heads = readers.iter().enumerate().filter_map(|(place, reader)| {
            Some((reader.waiting.front()?.envelope.received_at_ms, place))
        });
        let Some((_, place)) = heads.min() else { break };
        chunk.extend(readers[place].waiting.pop_front().map(|input| (place, input)));
    }
    Ok(chunk)
}

/// Steps a chunk over the records of its devices, and commits those that changed.
async fn apply<S: Store>(
    store: &S,
    steps: &impl Steps,
    readers: &[Reader],
    chunk: Vec<(usize, Input)>,
    replayed: &mut Replayed,
) -> Result<(), ReplayError> {
    let mut by_device: HashMap<DeviceKey, Vec<(usize, Input)>> = HashMap::new();
    for (place, input) in chunk {
        by_device.entry(input.envelope.device.clone()).or_default().push((place, input));
    }
    let mut left: Vec<DeviceKey> = by_device.keys().cloned().collect();
    left.sort_unstable();
    for _ in 0..ROUNDS_MAX {
        let mut writes = Vec::new();
        let mut counts = Vec::new();
        for (device, mut stored) in left.iter().zip(store.load(&left).await?) {
            let (mut changed, mut known) = (0, 0);
            let due_before = stored.record.due_times();
            for (place, input) in &by_device[device] {
                let reader = &readers[*place];
                let again = steps.step(reader.stream, &reader.source, input, stored);
                stored = again.stored;
                changed += u64::from(again.changed);
                known += u64::from(again.known);
            }
            if changed == 0 {
                replayed.known += known;
                continue;
            }
            let (device, expected_revision) = (device.clone(), stored.revision);
            writes.push(Write { device, expected_revision, record: stored.record, due_before });
            counts.push((changed, known));
        }
        let committed = if writes.is_empty() { Vec::new() } else { store.commit(&writes).await? };
        left.clear();
        for ((write, (changed, known)), committed) in writes.into_iter().zip(counts).zip(committed)
        {
            match committed {
                Committed::Done { .. } => {
                    replayed.changed += changed;
                    replayed.known += known;
                }
                Committed::Conflict => left.push(write.device),
            }
        }
        if left.is_empty() {
            return Ok(());
        }
    }
    Err(ReplayError::Contended)
}
