//! Answers to requests that wait, as the functions decide them. Every process that serves
//! applications hears all answers, and takes its own.
//!
//! Invariants: a request waits before its envelope is appended, so no answer can come too early;
//! what comes while the queue cannot be followed is read afterwards.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use gnomon_host::port::{Consumer, Log, Queue, QueueError, Stream};
use gnomon_model::{Answer, Destination, EnvelopeId, Outgoing};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use crate::problem::Problem;

/// Most answers taken at once.
const BATCH_MAX: usize = 256;
/// Most requests that wait at once; each costs some hundred bytes and a connection.
const WAITING_MAX: usize = 10_000;
/// Pause while the queue does not answer.
const PAUSE: Duration = Duration::from_millis(200);

const ANSWERS: Log = Log { stream: Stream::Answers, partition: 0 };

/// Up to where answers were heard.
#[derive(Default)]
struct Heard {
    log_id: String,
    position: Option<u64>,
}

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
    ///
    /// # Errors
    /// Too many requests wait already: 503.
    pub(crate) fn expect(&self, request: &EnvelopeId) -> Result<Waiting, Problem> {
        let mut waiting = self.lock();
        if waiting.len() >= WAITING_MAX {
            let detail = format!("{WAITING_MAX} requests wait for an answer already");
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
        }
        let (sender, answer) = oneshot::channel();
        waiting.insert(request.clone(), sender);
        Ok(Waiting { answers: self.clone(), request: request.clone(), answer })
    }

    /// Hands out answers until the queue is closed. Whoever serves aborts it after the last
    /// request, not before: those that run while the service stops are answered as well.
    pub(crate) async fn hear<Q: Queue>(self, queue: Q) {
        let mut heard = Heard::default();
        loop {
            match self.follow(&queue, &mut heard).await {
                error @ QueueError::Closed => return debug!(error = %error, "hear no more answers"),
                error => warn!(error = %error, "hear answers"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn follow<Q: Queue>(&self, queue: &Q, heard: &mut Heard) -> QueueError {
        let mut consumer = match queue.follow(ANSWERS).await {
            Ok(consumer) => consumer,
            Err(error) => return error,
        };
        if heard.log_id != consumer.log_id() {
            *heard = Heard { log_id: consumer.log_id().to_owned(), position: None };
        } else if let Some(position) = heard.position {
            // What came while nobody followed.
            match queue.read(ANSWERS, position + 1, BATCH_MAX).await {
                Ok(missed) => missed.iter().for_each(|delivery| self.hand_out(&delivery.body)),
                Err(error) => return error,
            }
        }
        loop {
            let batch = match consumer.pull(BATCH_MAX).await {
                Ok(batch) => batch,
                Err(error) => return error,
            };
            for delivery in &batch {
                self.hand_out(&delivery.body);
            }
            let positions: Vec<u64> = batch.iter().map(|delivery| delivery.position).collect();
            heard.position = positions.last().copied().or(heard.position);
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

#[cfg(test)]
mod tests {
    use super::*;
    use gnomon_adapters::memory::Memory;
    use gnomon_host::port::Message;

    fn id(text: &str) -> EnvelopeId {
        EnvelopeId::parse(text).unwrap()
    }

    fn message(request: &str, payload: &str) -> Message {
        let to = Destination::Caller { request: id(request) };
        let outgoing = Outgoing { id: format!("{request}.0"), to, payload: payload.to_owned() };
        let body = serde_json::to_vec(&outgoing).unwrap().into();
        Message { log: ANSWERS, id: outgoing.id, device: None, body }
    }

    #[tokio::test]
    async fn the_process_that_asked_takes_its_answer() {
        let memory = Memory::new(1);
        let garbage =
            Message { log: ANSWERS, id: "g".to_owned(), device: None, body: "garbage".into() };
        let desired = r#"{"desired":{"version":7}}"#;
        let messages = vec![garbage, message("unknown", desired), message("known", desired)];
        // Two processes hear it; who asked takes it.
        let [asked, other] = [Answers::default(), Answers::default()];
        let waiting = asked.expect(&id("known")).unwrap();
        let hearing = [&asked, &other].map(|one| tokio::spawn(one.clone().hear(memory.clone())));
        // They follow from now on: one turn of each is enough.
        tokio::task::yield_now().await;
        memory.append(messages).await.unwrap();
        let answer = waiting.answer(Duration::from_secs(30)).await;
        assert_eq!(answer, Some(Answer::Desired { version: 7 }));
        memory.close();
        for one in hearing {
            one.await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_came_while_nobody_followed_is_heard() {
        let memory = Memory::new(1);
        let desired = r#"{"desired":{"version":7}}"#;
        memory.append(vec![message("earlier", desired), message("known", desired)]).await.unwrap();
        let answers = Answers::default();
        let waiting = answers.expect(&id("known")).unwrap();
        let log_id = memory.follow(ANSWERS).await.unwrap().log_id().to_owned();
        let mut heard = Heard { log_id, position: Some(1) };
        let follow = answers.follow(&memory, &mut heard);
        tokio::select! {
            error = follow => panic!("{error}"),
            answer = waiting.answer(Duration::from_secs(30)) => {
                assert_eq!(answer, Some(Answer::Desired { version: 7 }));
            }
        }
    }

    #[test]
    fn no_more_wait_than_the_bound_and_who_gives_up_makes_room() {
        let answers = Answers::default();
        let ids = (0..WAITING_MAX).map(|n| id(&n.to_string()));
        let mut waiting: Vec<Waiting> = ids.map(|id| answers.expect(&id).unwrap()).collect();
        assert!(answers.expect(&id("one-more")).is_err());
        waiting.pop();
        assert!(answers.expect(&id("one-more")).is_ok());
        drop(waiting);
        assert!(answers.lock().is_empty());
    }
}
