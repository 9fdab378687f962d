//! From the queue to the broker: the log is acknowledged once the broker has a message.
//!
//! The broker may get a message twice, when the connection ends between its taking one and our
//! seeing the answer: a new connection has a new session, under which everything unanswered is
//! published again.

use std::pin::pin;

use gnomon_dialect::topic::valid_topic;
use gnomon_host::downlink::Downlink;
use gnomon_host::port::Queue;
use gnomon_host::watch::now_ms;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Duration, Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::BridgeError;
use crate::client::{Client, Connection, Event, Lost, Role, client_id, open};
use crate::feed::{Place, Source, feed};
use crate::options::{BridgeOptions, PACKET_BYTES_LIMIT};
use crate::pace::Pace;
use crate::turn::Turn;
use crate::uplink::chain;
use crate::window::{Outcome, Window};

/// How long the broker may take to answer what is on its way after `stop`.
const PARTING_MAX: Duration = Duration::from_secs(5);
/// Most bytes of a PUBLISH beside topic, payload and texts of its properties.
const OVERHEAD_BYTES: usize = 64;

/// Carries messages while it is this bridge's turn, until `stop` is cancelled; then ends what is on
/// its way.
pub(crate) async fn run<Q: Queue>(
    options: &BridgeOptions,
    queue: Q,
    stop: CancellationToken,
) -> Result<(), BridgeError> {
    let closed = BridgeError::QueueClosed { what: "downlink" };
    let mut turn = Turn::new(queue.clone(), options.reader.as_deref());
    loop {
        match turn.wait(&stop).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => return Err(closed),
        }
        metrics::gauge!("gnomon_bridge_downlink_held").set(1.0);
        let ended = tokio::select! {
            ended = carry(options, queue.clone(), &stop) => ended,
            never = turn.stay() => match never {},
        };
        metrics::gauge!("gnomon_bridge_downlink_held").set(0.0);
        match ended {
            Ended::Stopped => break,
            Ended::Closed => {
                if !turn.lose().await.unwrap_or(false) {
                    return Err(closed);
                }
                info!("another bridge has taken the downlink over");
            }
        }
    }
    turn.leave().await;
    Ok(())
}

/// Why the downlink is not carried any more.
enum Ended {
    /// `stop` was cancelled.
    Stopped,
    /// The log is somebody else's now, or the queue was shut down.
    Closed,
}

/// Carries messages until `stop` is cancelled, or somebody else has the log; what was on its way then
/// is theirs to send again.
async fn carry<Q: Queue>(options: &BridgeOptions, queue: Q, stop: &CancellationToken) -> Ended {
    let (handing, handed) = unbounded_channel();
    let (settling, settled) = unbounded_channel();
    let open_max = 2 * usize::from(options.inflight_max);
    let feeding = tokio::spawn(feed(
        Source { queue, reader: options.reader.clone() },
        open_max,
        handing,
        settled,
        stop.clone(),
    ));
    let window = Window::default();
    let mut downlink =
        Downlinks { options, window, handed, settling, packet_bytes_max: 0, pace: Pace::new() };
    let mut ended = Ended::Stopped;
    while !stop.is_cancelled() {
        match downlink.serve(stop).await {
            Ok(()) => break,
            Err(Lost::QueueClosed) => {
                ended = Ended::Closed;
                break;
            }
            Err(error) => {
                metrics::counter!("gnomon_bridge_disconnects_total", "direction" => "downlink")
                    .increment(1);
                warn!(error = chain(&error), "the downlink's connection ended");
            }
        }
        downlink.pace.wait(stop).await;
    }
    // The feed acknowledges what is settled, and ends.
    drop(downlink);
    let _ = tokio::time::timeout(PARTING_MAX, feeding).await;
    ended
}

struct Downlinks<'a> {
    options: &'a BridgeOptions,
    window: Window,
    handed: UnboundedReceiver<(Place, Downlink)>,
    settling: UnboundedSender<Place>,
    /// Largest packet that the broker of this connection takes.
    packet_bytes_max: usize,
    pace: Pace,
}

impl Downlinks<'_> {
    /// Serves one connection until it ends, or `stop` is cancelled.
    async fn serve(&mut self, stop: &CancellationToken) -> Result<(), Lost> {
        self.window.rewind();
        let (client, mut connection) = open(self.options, Role::Downlink);
        let mut is_connected = false;
        loop {
            let event = {
                let mut next = pin!(connection.next());
                loop {
                    tokio::select! {
                        event = &mut next => break Some(event?),
                        handed = self.handed.recv() => {
                            let (place, message) = handed.ok_or(Lost::QueueClosed)?;
                            self.window.push(place, message);
                            if is_connected {
                                self.publish(&client)?;
                            }
                        }
                        () = stop.cancelled() => break None,
                    }
                }
            };
            let Some(event) = event else { return self.part(&client, connection).await };
            is_connected |= matches!(event, Event::Connected { .. });
            self.meet(event)?;
            if is_connected {
                self.publish(&client)?;
            }
        }
    }

    /// Waits until what was sent is answered, and says goodbye.
    async fn part(&mut self, client: &Client, mut connection: Connection) -> Result<(), Lost> {
        let deadline = Instant::now() + PARTING_MAX;
        let mut parting = false;
        loop {
            if self.window.flying() == 0 && !std::mem::replace(&mut parting, true) {
                client.part();
            }
            tokio::select! {
                event = connection.next() => match event {
                    Ok(Event::Parted) | Err(_) => return Ok(()),
                    Ok(event) => self.meet(event)?,
                },
                () = sleep_until(deadline) => return Ok(()),
            }
        }
    }

    fn meet(&mut self, event: Event) -> Result<(), Lost> {
        match event {
            Event::Connected { packet_bytes_max, .. } => {
                let limit = packet_bytes_max.unwrap_or(PACKET_BYTES_LIMIT);
                let limit = limit.min(self.options.packet_bytes_max);
                self.packet_bytes_max = usize::try_from(limit).unwrap_or(usize::MAX);
                self.pace.succeeded();
                metrics::counter!("gnomon_bridge_connects_total", "direction" => "downlink")
                    .increment(1);
                info!(
                    client = client_id(self.options, Role::Downlink),
                    "the downlink is connected"
                );
            }
            Event::Sent(packet_id) => {
                if let Some(place) = self.window.sent(packet_id) {
                    self.settle(place, "sent");
                }
            }
            Event::Answered(packet_id, answer) => {
                let topic = self.window.topic(packet_id);
                match self.window.answered(packet_id, answer) {
                    Outcome::Settled(place) => self.settle(place, "taken"),
                    Outcome::Dropped(place, reason) => self.drop_message(place, &topic, reason),
                    Outcome::Again(reason) => return Err(Lost::NotNow(reason)),
                    Outcome::Unknown => {}
                }
            }
            Event::Collided => return Err(Lost::Collided),
            Event::Subscribed
            | Event::SubscriptionRefused(_)
            | Event::Received(_)
            | Event::Parted
            | Event::Other => {}
        }
        Ok(())
    }

    /// Publishes what waits, as far as it may be on its way.
    fn publish(&mut self, client: &Client) -> Result<(), Lost> {
        let now_ms = now_ms();
        while self.window.flying() < usize::from(self.options.inflight_max) {
            let Some((place, message)) = self.window.next() else { break };
            if let Some(reason) = unfit(message, self.packet_bytes_max, now_ms) {
                let topic = message.topic.clone();
                self.window.remove(place);
                self.drop_message(place, &topic, reason);
                continue;
            }
            client.publish(message, now_ms)?;
            self.window.asked(place);
        }
        Ok(())
    }

    fn settle(&self, place: Place, result: &'static str) {
        metrics::counter!("gnomon_bridge_published_total", "result" => result).increment(1);
        // A feed that has ended delivers it again to the next consumer.
        let _ = self.settling.send(place);
    }

    fn drop_message(&self, place: Place, topic: &str, reason: &'static str) {
        warn!(topic, reason, "a message to a device is dropped");
        self.settle(place, reason);
    }
}

/// Why a message can never be published, if so.
fn unfit(message: &Downlink, packet_bytes_max: usize, now_ms: i64) -> Option<&'static str> {
    let of = &message.properties;
    let texts = [&of.content_type, &of.response_topic].into_iter().flatten().map(String::len);
    let users = of.user.iter().map(|(key, value)| key.len() + value.len() + 5);
    let bytes = OVERHEAD_BYTES
        + message.topic.len()
        + message.payload.len()
        + of.correlation.as_ref().map_or(0, Vec::len)
        + texts.chain(users).sum::<usize>();
    if !valid_topic(&message.topic) {
        return Some("topic invalid");
    }
    if of.expires_at_ms.is_some_and(|at| at <= now_ms) {
        return Some("expired");
    }
    (bytes > packet_bytes_max).then_some("packet too large")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_no_broker_can_take_is_not_published() {
        let message = |topic: &str, bytes: usize| Downlink::new(topic, 1, vec![0; bytes].into());
        let mut expired = message("a", 1);
        expired.properties.expires_at_ms = Some(10);
        for (message, expected) in [
            (message("a/b", 100), None),
            (message("a/+", 100), Some("topic invalid")),
            (message("", 100), Some("topic invalid")),
            (message("a", 1000), Some("packet too large")),
            (expired, Some("expired")),
            (Downlink::new("a", 0, Bytes::new()), None),
        ] {
            assert_eq!(unfit(&message, 1000, 10), expected, "{}", message.topic);
        }
    }
}
