//! The uninterrupted run: the same log through a fresh store and queue, one message at a time.

use std::collections::BTreeMap;

use gnomon_adapters::Memory;
use gnomon_host::driver::{Driver, Verdict};
use gnomon_host::port::Queue;
use gnomon_host::steps::Source;
use gnomon_host::watch::Watch;
use gnomon_telemetry::Telemetry;

use crate::model::{Fate, same};
use crate::oracle::{Calm, DEAD, DOWNLINK, Expected, cause, records};
use crate::rig::log_id;
use crate::script::PARTITIONS;

/// Lives the log again, without faults.
pub(crate) async fn calm(telemetry: &Telemetry, expected: &Expected<'_>) -> Result<Calm, String> {
    let memory = Memory::new(PARTITIONS);
    let mut driver = Driver::new(memory.clone(), memory.clone(), Watch::default());
    let mut effects: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for taken in &expected.taken {
        let source = Source { log: taken.log, log_id: log_id(taken.log) };
        let batch = std::slice::from_ref(&taken.delivery);
        let verdicts = driver.drive(telemetry, &source, batch).await;
        let dead = matches!(verdicts[..], [Verdict::Dead(_)]);
        same(&format!("{} is dead", taken.spoken.id), &dead, &(taken.fate == Fate::Dead))?;
        effects.insert(taken.spoken.id.clone(), Vec::new());
    }
    let downlink = memory.read(DOWNLINK, 1, usize::MAX).await.unwrap();
    let dead = memory.read(DEAD, 1, usize::MAX).await.unwrap();
    for delivery in downlink.iter().chain(&dead) {
        effects.get_mut(cause(&delivery.id)).unwrap().push(delivery.id.clone());
    }
    Ok(Calm { records: records(&memory).await, downlink, dead, effects })
}
