//! The loop: looks at what is due, four times a second, and appends what is to be told.

use std::time::Duration;

use gnomon_host::port::{Queue, QueueError, Store, StoreError};
use gnomon_host::watch::now_ms;
use gnomon_model::DueKind;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{FOUND_MAX, Found, Timer, latest_ms, leads};

/// Time between two looks at what is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Time between two looks at who else is there.
const ATTEND_EVERY: Duration = Duration::from_secs(1);
/// The group that timers attend in.
pub const GROUP: &str = "timer";

/// Looks and tells until `stop` is cancelled, or store or queue are closed. Of several members with
/// different names one does so; when it goes, another one takes over within a few seconds.
pub async fn run<S: Store, Q: Queue>(store: S, queue: Q, member: String, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut timer = Timer::default();
    let mut lead = Lead { leads: false, asked: None };
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        lead.ask(&queue, &member).await;
        if lead.leads && look(&mut timer, &store, &queue).await == Looked::Closed {
            break;
        }
    }
    if let Err(error) = queue.leave(GROUP, &member).await {
        warn!(error = %error, "leave; another timer takes over in a few seconds");
    }
}

/// Whether this timer leads, as of the last time it asked.
struct Lead {
    leads: bool,
    asked: Option<Instant>,
}

impl Lead {
    async fn ask<Q: Queue>(&mut self, queue: &Q, member: &str) {
        if self.asked.is_some_and(|asked| asked.elapsed() < ATTEND_EVERY) {
            return;
        }
        self.asked = Some(Instant::now());
        match queue.attend(GROUP, member).await {
            Ok(members) => {
                let leads = leads(member, &members);
                if leads != self.leads {
                    info!(leads, timers = members.len(), "timer");
                    self.leads = leads;
                }
            }
            // It goes on as before: two that tell the same are one to the queue.
            Err(error) => warn!(error = %error, "see which timers are there"),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Looked {
    Done,
    Closed,
}

/// One look, and what it leads to. What cannot be done now is found again by the next look.
async fn look<S: Store, Q: Queue>(timer: &mut Timer, store: &S, queue: &Q) -> Looked {
    let now_ms = now_ms();
    let mut found = Found::default();
    for kind in DueKind::ALL {
        match store.due(kind, now_ms, FOUND_MAX).await {
            Ok(due) => found.due.push((kind, due)),
            Err(StoreError::Closed) => return Looked::Closed,
            Err(error) => {
                warn!(error = %error, kind = kind.as_str(), "look for what is due");
                return Looked::Done;
            }
        }
    }
    metrics::gauge!("gnomon_due_late_seconds").set(latest_ms(&found, now_ms) as f64 / 1000.0);
    let messages = timer.tell(&found, now_ms, queue.partitions());
    let count = messages.len() as u64;
    if count > 0 {
        match queue.append(messages).await {
            Ok(()) => metrics::counter!("gnomon_due_told_total").increment(count),
            Err(QueueError::Closed) => return Looked::Closed,
            Err(error) => {
                warn!(error = %error, count, "tell what is due");
                return Looked::Done;
            }
        }
    }
    timer.told(&found, now_ms);
    Looked::Done
}
