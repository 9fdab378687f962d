//! Answers to requests that wait, as the functions decide them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gnomon_host::port::{Consumer, Log, Queue, QueueError, Stream};
use gnomon_model::{Answer, Destination, EnvelopeId, Outgoing};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Most answers taken at once.
const BATCH_MAX: usize = 256;
/// Pause while the queue does not answer.
const PAUSE: Duration = Duration::from_millis(200);

/// Requests that wait, by the envelope that carries them. Cheap to clone; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Answers {
    waiting: Arc<Mutex<HashMap<EnvelopeId, oneshot::Sender<Answer>>>>,
}

/// One request that waits; dropping it gives the wait up.
pub(crate) struct Waiting {
    answers: Answers,
    request: EnvelopeId,
    answer: oneshot::Receiver<Answer>,
}

impl Answers {
    /// Begins to wait; to be called before the envelope is appended.
    pub(crate) fn expect(&self, request: &EnvelopeId) -> Waiting {
        let (sender, answer) = oneshot::channel();
        self.lock().insert(request.clone(), sender);
        Waiting { answers: self.clone(), request: request.clone(), answer }
    }

    /// Hands out answers until `stop` is cancelled.
    pub(crate) async fn hear<Q: Queue>(self, queue: Q, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.consume(&queue).await {
                QueueError::Closed => return,
                error => warn!(error = %error, "hear answers"),
            }
            let _ = tokio::time::timeout(PAUSE, stop.cancelled()).await;
        }
    }

    async fn consume<Q: Queue>(&self, queue: &Q) -> QueueError {
        let log = Log { stream: Stream::Answers, partition: 0 };
        let mut consumer = match queue.consume(log).await {
            Ok(consumer) => consumer,
            Err(error) => return error,
        };
        loop {
            let batch = match consumer.pull(BATCH_MAX).await {
                Ok(batch) => batch,
                Err(error) => return error,
            };
            for delivery in &batch {
                self.hand_out(&delivery.body);
            }
            let positions: Vec<u64> = batch.iter().map(|delivery| delivery.position).collect();
            if let Err(error) = consumer.acknowledge(&positions).await {
                return error;
            }
        }
    }

    /// Hands an answer to whoever waits; nobody may, when the wait was given up.
    fn hand_out(&self, body: &[u8]) {
        let Ok(Outgoing { to: Destination::Caller { request }, payload, .. }) =
            serde_json::from_slice(body)
        else {
            return warn!("an answer cannot be read");
        };
        let waiting = self.lock().remove(&request);
        match (waiting, serde_json::from_str(&payload)) {
            (Some(waiting), Ok(answer)) => drop(waiting.send(answer)),
            (None, _) => {}
            (Some(_), Err(error)) => warn!(%request, error = %error, "an answer cannot be read"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<EnvelopeId, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Waits for the answer; none when `time` is up.
    pub(crate) async fn answer(mut self, time: Duration) -> Option<Answer> {
        tokio::time::timeout(time, &mut self.answer).await.ok()?.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.answers.lock().remove(&self.request);
    }
}
