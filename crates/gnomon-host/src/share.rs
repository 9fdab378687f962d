//! Several workers of one function share the partitions of its stream.
//!
//! Each says that it is there every second and sees who else is. The rule by which partitions are
//! shared out is the same for all, so nobody needs to be asked. While two do not see the same, one
//! partition may be opened by both: the later one has it, the earlier one finds it closed, and the
//! store's compare-and-set keeps what both decided from being applied twice.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::function::Function;
use crate::port::{Queue, Store};
use crate::runner::work;
use crate::watch::Watch;

/// Time between two looks at who is there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The partitions of one member: every n-th, in the order of the members' names.
#[must_use]
pub fn share_of(member: &str, members: &[String], partitions: u16) -> Vec<u16> {
    let mut sorted: Vec<&str> = members.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let Ok(place) = sorted.binary_search(&member) else { return Vec::new() };
    (0..partitions).filter(|partition| usize::from(*partition) % sorted.len() == place).collect()
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Works on this member's share of the function's partitions until `stop` is cancelled; batches at
/// hand are finished first.
pub async fn work_share<F: Function + 'static, S: Store, Q: Queue>(
    function: impl Fn() -> F + Clone + Send + Sync + 'static,
    member: String,
    store: S,
    queue: Q,
    watch: Watch,
    stop: CancellationToken,
) {
    let mut running: HashMap<u16, Running> = HashMap::new();
    let mut told = Vec::new();
    while !stop.is_cancelled() {
        match queue.attend(F::NAME, &member).await {
            Ok(members) => {
                let share = share_of(&member, &members, queue.partitions());
                if share != told {
                    info!(function = F::NAME, workers = members.len(), partitions = ?share, "share");
                    told.clone_from(&share);
                }
                release(&mut running, &share).await;
                for partition in share {
                    running.entry(partition).or_insert_with(|| {
                        let (function, store, queue) =
                            (function.clone(), store.clone(), queue.clone());
                        let (watch, stop) = (watch.clone(), stop.child_token());
                        let work = work(function, partition, store, queue, watch, stop.clone());
                        Running { stop, task: tokio::spawn(work) }
                    });
                }
            }
            // What runs goes on: its own calls tell when the queue is back.
            Err(error) => warn!(function = F::NAME, error = %error, "see who else works"),
        }
        let _ = tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await;
    }
    release(&mut running, &[]).await;
    if let Err(error) = queue.leave(F::NAME, &member).await {
        warn!(function = F::NAME, error = %error, "leave; others take over in a few seconds");
    }
}

/// Stops what is not in the share, and forgets what has ended by itself, so that it begins again if
/// it is still ours.
async fn release(running: &mut HashMap<u16, Running>, share: &[u16]) {
    let gone: Vec<u16> = running
        .iter()
        .filter(|(partition, one)| !share.contains(partition) || one.task.is_finished())
        .map(|(partition, _)| *partition)
        .collect();
    for partition in &gone {
        running[partition].stop.cancel();
    }
    for partition in gone {
        let Some(one) = running.remove(&partition) else { continue };
        if let Err(error) = one.task.await {
            tracing::error!(partition, error = %error, "worker ended badly");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_one_owner_and_shares_differ_by_one_at_most() {
        let names = ["c", "a", "b", "e", "d"].map(str::to_owned);
        for count in 1..=names.len() {
            let members = &names[..count];
            for partitions in [1_u16, 4, 7, 64] {
                let shares: Vec<_> =
                    members.iter().map(|one| share_of(one, members, partitions)).collect();
                let mut all: Vec<u16> = shares.concat();
                all.sort_unstable();
                assert_eq!(all, (0..partitions).collect::<Vec<_>>());
                let sizes = shares.iter().map(Vec::len);
                let (least, most) = (sizes.clone().min().unwrap(), sizes.max().unwrap());
                assert!(most - least <= 1);
            }
        }
    }

    #[test]
    fn one_who_is_not_there_has_nothing() {
        assert_eq!(share_of("x", &["a".to_owned()], 4), [0_u16; 0]);
        assert_eq!(share_of("x", &[], 4), [0_u16; 0]);
    }
}
