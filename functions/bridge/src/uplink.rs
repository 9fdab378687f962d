//! From devices to the queue: the broker is acknowledged once the queue has a message.
//!
//! Invariants: acknowledgements go out in the order of the messages, on the connection on which
//! these came, or not at all.
//! Never: awaiting the queue while the connection waits to be read.

use std::collections::HashSet;
use std::pin::pin;

use gnomon_dialect::topic::{UPLINK_FILTERS, shared_filter};
use gnomon_dialect::{UplinkKind, recognise};
use gnomon_host::port::{Log, Message, Queue, Stream};
use gnomon_host::watch::now_ms;
use gnomon_model::{DeviceKey, Envelope, EnvelopeId, Presence, What};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Duration, Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::BridgeError;
use crate::append::{Entry, Receipt, append_all};
use crate::client::{Client, Connection, Event, Lost, Received, Role, client_id, open};
use crate::options::{BridgeOptions, Subscriptions};
use crate::pace::Pace;
use crate::recall::recall;
use crate::taken::Taken;

/// Most messages that wait for the queue. A broker of MQTT 5 sends fewer without an
/// acknowledgement; beyond it, messages of QoS 0 are dropped, and others end the connection.
const WAITING_MAX: usize = 2048;
/// Most devices remembered as having spoken; beyond it all are told anew.
const SPOKEN_MAX: usize = 100_000;
/// How long what is on its way may take after `stop`.
const PARTING_MAX: Duration = Duration::from_secs(5);

/// Carries messages until `stop` is cancelled; then ends what is on its way.
pub(crate) async fn run<Q: Queue>(
    options: &BridgeOptions,
    queue: Q,
    stop: CancellationToken,
) -> Result<(), BridgeError> {
    let client = client_id(options, Role::Uplink);
    let Some(taken) = recall(&queue, &client, &stop).await? else { return Ok(()) };
    let (entries, waiting) = unbounded_channel();
    let (ending, ended) = unbounded_channel();
    let abandon = CancellationToken::new();
    let _abandon = abandon.clone().drop_guard();
    let partitions = queue.partitions();
    tokio::spawn(append_all(queue, waiting, ending, abandon));
    let mut uplink = Uplink {
        options,
        client,
        filters: filters(options),
        partitions,
        taken,
        spoken: HashSet::new(),
        ids: Ids::new(),
        connection: 0,
        open: 0,
        entries,
        ended,
        pace: Pace::new(),
    };
    while !stop.is_cancelled() {
        match uplink.serve(&stop).await {
            Ok(()) => break,
            Err(Lost::QueueClosed) => return Err(BridgeError::QueueClosed { what: "uplink" }),
            Err(error) => {
                metrics::counter!("gnomon_bridge_disconnects_total", "direction" => "uplink")
                    .increment(1);
                warn!(
                    error = chain(&error),
                    client = uplink.client,
                    "the uplink's connection ended"
                );
            }
        }
        uplink.pace.wait(&stop).await;
    }
    Ok(())
}

/// An error with what caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn filters(options: &BridgeOptions) -> Vec<String> {
    let filters = UPLINK_FILTERS.iter();
    match &options.subscriptions {
        Subscriptions::Shared { group } => filters.map(|one| shared_filter(group, one)).collect(),
        Subscriptions::Plain => filters.map(|one| (*one).to_owned()).collect(),
    }
}

/// Makes ids that are unique in a deployment: the start time of the process, a random part, a
/// number.
struct Ids {
    prefix: String,
    made: u64,
}

impl Ids {
    fn new() -> Self {
        let id = uuid::Uuid::now_v7().simple().to_string();
        Self { prefix: format!("b{}{}", &id[..12], &id[26..]), made: 0 }
    }

    fn next(&mut self) -> EnvelopeId {
        self.made += 1;
        let id = format!("{}-{:x}", self.prefix, self.made);
        EnvelopeId::parse(&id).expect("a prefix of hexadecimal digits and a number are a word")
    }
}

struct Uplink<'a> {
    options: &'a BridgeOptions,
    client: String,
    filters: Vec<String>,
    partitions: u16,
    taken: Taken,
    /// Devices that were told to be online since the start.
    spoken: HashSet<DeviceKey>,
    ids: Ids,
    /// Number of the connection, from 1.
    connection: u64,
    /// Messages on their way to the queue.
    open: usize,
    entries: UnboundedSender<Entry>,
    ended: UnboundedReceiver<Receipt>,
    pace: Pace,
}

impl Uplink<'_> {
    /// Serves one connection until it ends, or `stop` is cancelled.
    async fn serve(&mut self, stop: &CancellationToken) -> Result<(), Lost> {
        self.wait_for_room(stop).await?;
        self.connection += 1;
        let (client, mut connection) = open(self.options, Role::Uplink);
        loop {
            let event = {
                let mut next = pin!(connection.next());
                loop {
                    tokio::select! {
                        event = &mut next => break Some(event?),
                        ended = self.ended.recv() => self.acknowledge(&client, ended)?,
                        () = stop.cancelled() => break None,
                    }
                }
            };
            match event {
                Some(event) => self.meet(event, &client)?,
                None => return self.part(&client, connection).await,
            }
        }
    }

    /// Waits before a new connection until the queue has caught up with the older ones.
    async fn wait_for_room(&mut self, stop: &CancellationToken) -> Result<(), Lost> {
        while self.open > WAITING_MAX / 2 {
            tokio::select! {
                ended = self.ended.recv() => self.end(ended)?,
                () = stop.cancelled() => return Ok(()),
            };
        }
        Ok(())
    }

    /// Ends what is on its way, and says goodbye. What was given up of reading when `stop` came may
    /// cost an acknowledgement: the message then comes again after the next start, and is known.
    async fn part(&mut self, client: &Client, mut connection: Connection) -> Result<(), Lost> {
        let deadline = Instant::now() + PARTING_MAX;
        let mut parting = false;
        loop {
            if self.open == 0 && !std::mem::replace(&mut parting, true) {
                client.part();
            }
            let mut next = pin!(connection.next());
            let event = loop {
                tokio::select! {
                    event = timeout_at(deadline, &mut next) => break event,
                    ended = self.ended.recv(), if self.open > 0 => {
                        self.acknowledge(client, ended)?;
                        if self.open == 0 && !std::mem::replace(&mut parting, true) {
                            client.part();
                        }
                    }
                }
            };
            match event {
                // What comes now is not acknowledged, and comes again.
                Ok(Ok(Event::Parted)) | Ok(Err(_)) | Err(_) => return Ok(()),
                Ok(Ok(_)) => {}
            }
        }
    }

    /// Takes note of a message that has ended; of which.
    fn end(&mut self, ended: Option<Receipt>) -> Result<Receipt, Lost> {
        let receipt = ended.ok_or(Lost::QueueClosed)?;
        self.open -= 1;
        metrics::gauge!("gnomon_bridge_waiting").set(self.open as f64);
        Ok(receipt)
    }

    /// Acknowledges a message that has ended, if it came on this connection: an older one knows its
    /// packet id as another message's.
    fn acknowledge(&mut self, client: &Client, ended: Option<Receipt>) -> Result<(), Lost> {
        let Receipt { connection, packet_id } = self.end(ended)?;
        match packet_id {
            Some(packet_id) if connection == self.connection => client.acknowledge(packet_id),
            Some(_) | None => Ok(()),
        }
    }

    fn meet(&mut self, event: Event, client: &Client) -> Result<(), Lost> {
        match event {
            Event::Connected { session_present, .. } => {
                if !session_present {
                    self.taken.clear();
                }
                // Also in a session that is there: it may be of another release, which had other
                // filters. A subscription that is there is replaced and loses nothing.
                client.subscribe(&self.filters)
            }
            Event::Subscribed => {
                self.pace.succeeded();
                metrics::counter!("gnomon_bridge_connects_total", "direction" => "uplink")
                    .increment(1);
                info!(client = self.client, "the uplink is connected");
                Ok(())
            }
            Event::SubscriptionRefused(reason) => Err(Lost::SubscriptionRefused(reason)),
            Event::Received(received) => self.receive(received),
            Event::Sent(_)
            | Event::Answered(..)
            | Event::Collided
            | Event::Parted
            | Event::Other => Ok(()),
        }
    }

    fn receive(&mut self, received: Received) -> Result<(), Lost> {
        let packet_id = received.packet_id;
        if self.open >= WAITING_MAX {
            if packet_id.is_some() {
                return Err(Lost::TooMany);
            }
            drop_received(&received, "queue is behind");
            return Ok(());
        }
        let message = self.message(received);
        let speaker = message.as_ref().and_then(|message| message.device.clone());
        if let Some(online) = speaker.and_then(|device| self.online(device)) {
            // Nothing of the broker's is acknowledged for it.
            self.send(None, Some(online))?;
        }
        self.send(packet_id, message)
    }

    fn send(&mut self, packet_id: Option<u16>, message: Option<Message>) -> Result<(), Lost> {
        let receipt = Receipt { connection: self.connection, packet_id };
        let sent = self.entries.send(Entry { receipt, message });
        self.open += 1;
        sent.map_err(|_| Lost::QueueClosed)
    }

    /// Says that a device is online, when it speaks for the first time.
    fn online(&mut self, device: DeviceKey) -> Option<Message> {
        if !self.options.spoken_is_online || self.spoken.contains(&device) {
            return None;
        }
        if self.spoken.len() >= SPOKEN_MAX {
            self.spoken.clear();
        }
        self.spoken.insert(device.clone());
        let reason = "spoke at the broker".to_owned();
        let connection = self.client.clone();
        let what = What::Presence(Presence { online: true, connection, reason, dialect: None });
        Some(self.address(Stream::Telemetry, device, what))
    }

    fn address(&mut self, stream: Stream, device: DeviceKey, what: What) -> Message {
        let envelope = Envelope { id: self.ids.next(), device, received_at_ms: now_ms(), what };
        let log = Log { stream, partition: envelope.device.partition(self.partitions) };
        let (id, body) = (envelope.id.to_string(), envelope.encode());
        Message { log, id, device: Some(envelope.device), body }
    }

    /// What goes to the queue, if anything does.
    fn message(&mut self, received: Received) -> Option<Message> {
        let Received { topic, payload, packet_id, is_again, is_retained } = &received;
        if *is_retained {
            // It was taken when it was published, or before there was a bridge.
            return ignore(topic, "retained");
        }
        let Some(uplink) = recognise(topic) else {
            return ignore(topic, "not from a device");
        };
        if let Some(packet_id) = packet_id {
            if *is_again && self.taken.has(*packet_id, topic, payload) {
                return ignore(topic, "sent again");
            }
            self.taken.remember(*packet_id, topic, payload);
        }
        if payload.len() > self.options.packet_bytes_max as usize {
            drop_received(&received, "too large");
            return None;
        }
        let stream = match uplink.kind {
            UplinkKind::Reply => Stream::Calls,
            UplinkKind::Report
            | UplinkKind::Event
            | UplinkKind::Request
            | UplinkKind::Unsupported => Stream::Telemetry,
        };
        let Received { topic, payload, packet_id, .. } = received;
        let packet = packet_id.map(|packet_id| (self.client.clone(), packet_id));
        let what = What::Published { topic, payload, packet };
        Some(self.address(stream, uplink.device, what))
    }
}

fn ignore(topic: &str, reason: &'static str) -> Option<Message> {
    metrics::counter!("gnomon_bridge_ignored_total", "reason" => reason).increment(1);
    debug!(topic, reason, "a message is left out");
    None
}

fn drop_received(received: &Received, reason: &'static str) {
    metrics::counter!("gnomon_bridge_dropped_total", "reason" => reason).increment(1);
    let (topic, bytes) = (&received.topic, received.payload.len());
    warn!(topic, bytes, reason, "a message of a device is dropped");
}
