//! Makes changes of saved sessions durable, many at a time, in order.

use std::sync::Arc;
use std::time::Duration;

use gnomon_host::port::{Sessions, StoreError};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::session::{Keep, Receipt};

/// Most jobs that wait; who has more to keep waits as well.
const JOBS_MAX: usize = 4096;
/// Most jobs of one write.
const BATCH_MAX: usize = 512;
/// Pause while the store does not answer.
const PAUSE: Duration = Duration::from_millis(200);

/// Changes that belong together, and who waits for them.
struct Job {
    keeps: Vec<Keep>,
    done: Option<oneshot::Sender<()>>,
}

/// Hands changes to the task that makes them durable. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Keeper {
    jobs: mpsc::Sender<Job>,
}

impl Keeper {
    /// Starts the task, for the sessions of a gateway; it ends when the last clone of the keeper is
    /// dropped and all is durable.
    pub(crate) fn start<S: Sessions>(
        sessions: S,
        gateway: String,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (jobs, waiting) = mpsc::channel(JOBS_MAX);
        (Self { jobs }, tokio::spawn(keep(sessions, gateway, waiting)))
    }

    /// Hands changes over, without waiting until they are durable.
    pub(crate) async fn keep(&self, keeps: Vec<Keep>) {
        if !keeps.is_empty() {
            // A closed channel means that the store is: the receipts are dropped, but nobody is
            // left to take their positions.
            let _ = self.jobs.send(Job { keeps, done: None }).await;
        }
    }

    /// Hands changes over, and waits until they are durable.
    pub(crate) async fn keep_durably(&self, keeps: Vec<Keep>) {
        if keeps.is_empty() {
            return;
        }
        let (done, durable) = oneshot::channel();
        let _ = self.jobs.send(Job { keeps, done: Some(done) }).await;
        let _ = durable.await;
    }
}

async fn keep<S: Sessions>(sessions: S, gateway: String, mut waiting: mpsc::Receiver<Job>) {
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let mut changes = Vec::new();
        let mut receipts: Vec<Arc<Receipt>> = Vec::new();
        let mut dones = Vec::new();
        for Job { keeps, done } in batch.drain(..) {
            for Keep { change, receipt } in keeps {
                changes.push(change);
                receipts.extend(receipt);
            }
            dones.extend(done);
        }
        loop {
            match sessions.change(&gateway, changes.clone()).await {
                Ok(()) => break,
                // Positions are not done with: the next process gets their messages again.
                Err(StoreError::Closed) => return receipts.into_iter().for_each(std::mem::forget),
                Err(error) => warn!(error = %error, "save sessions"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        for done in dones {
            // Whoever waited may have gone.
            let _ = done.send(());
        }
    }
}
