//! One connection to the broker, the same for both versions of MQTT.
//!
//! Invariants: a client lives for one connection. What rumqttc would carry over to the next one
//! (acknowledgements under old packet ids, publishes in the order of their packet ids, events that
//! were read and not yet returned, a collision) is dropped with it; what must be sent again is
//! kept, and sent again, by whoever owns the client.

mod v3;
mod v5;

use std::time::Duration;

use bytes::Bytes;
use gnomon_host::downlink::Downlink;

use crate::options::{BridgeOptions, Version};

/// Most requests that wait for rumqttc: more than an owner ever makes before they are read.
const REQUESTS_MAX: usize = 4096;
/// Most publishes of one client that are not acknowledged. Beyond the bound of the options, so that
/// rumqttc's own flow control, which would also hold back acknowledgements, never sets in. It
/// allocates a slot for each: without a limit 65,536 of them.
const INFLIGHT_LIMIT: u16 = 1024;
/// How long rumqttc takes to connect at most (its own default, in both versions).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a client is for. The two never share a connection: rumqttc sends acknowledgements and
/// publishes along one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Uplink,
    Downlink,
}

/// The MQTT client id of the bridge in a role.
pub(crate) fn client_id(options: &BridgeOptions, role: Role) -> String {
    let end = match role {
        Role::Uplink => "up",
        Role::Downlink => "down",
    };
    format!("{}-{end}", options.client_id)
}

/// What happened on a connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// The broker has accepted the client.
    Connected {
        /// Whether it still has the client's session.
        session_present: bool,
        /// Largest packet that it takes, bytes, if it says so.
        packet_bytes_max: Option<u32>,
    },
    /// The broker has taken the subscriptions.
    Subscribed,
    /// The broker refuses a subscription.
    SubscriptionRefused(&'static str),
    /// A message came.
    Received(Received),
    /// The next publish, in the order in which they were asked for, was sent under this packet id;
    /// 0 for one of QoS 0.
    Sent(u16),
    /// The broker has answered a publish.
    Answered(u16, Answer),
    /// The broker answers publishes out of order, so that a packet id is not free in time.
    Collided,
    /// The client has said goodbye.
    Parted,
    /// Nothing of interest, but a sign of life.
    Other,
}

/// A message from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    /// None for QoS 0.
    pub(crate) packet_id: Option<u16>,
    /// The broker may have sent it before: the DUP flag.
    pub(crate) is_again: bool,
    /// It was there before the subscription.
    pub(crate) is_retained: bool,
}

/// How the broker answers a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Taken,
    /// It will never take it.
    Refused(&'static str),
    /// It may take it later.
    NotNow(&'static str),
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("connection of MQTT 3.1.1")]
    V3(#[source] Box<rumqttc::ConnectionError>),
    #[error("connection of MQTT 5")]
    V5(#[source] Box<rumqttc::v5::ConnectionError>),
    #[error("the broker's certificate is not trusted: {0}")]
    Untrusted(String),
    #[error("the broker was silent for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the broker refuses the subscription: {0}")]
    SubscriptionRefused(&'static str),
    #[error("more messages than are taken at a time wait for the queue")]
    TooMany,
    #[error("the broker does not take a message now: {0}")]
    NotNow(&'static str),
    #[error("the broker acknowledges out of order")]
    Collided,
    #[error("the client cannot take a request")]
    Request,
    #[error("queue is closed")]
    QueueClosed,
}

/// Asks for things on a connection.
pub(crate) enum Client {
    V3(rumqttc::AsyncClient),
    V5(rumqttc::v5::AsyncClient),
}

/// What happens on a connection.
pub(crate) enum Connection {
    V3(Box<rumqttc::EventLoop>, Duration),
    V5(Box<rumqttc::v5::EventLoop>, Duration),
}

/// Makes a client and its connection, which begins with the first [`Connection::next`].
pub(crate) fn open(options: &BridgeOptions, role: Role) -> (Client, Connection) {
    // A ping goes out every keep-alive and is answered; twice that is no life.
    let silence = 2 * Duration::from_secs(options.keep_alive_s.into()) + CONNECT_TIMEOUT;
    match options.version {
        Version::V3 => {
            let (client, events) =
                rumqttc::AsyncClient::new(v3::options(options, role), REQUESTS_MAX);
            (Client::V3(client), Connection::V3(Box::new(events), silence))
        }
        Version::V5 => {
            let (client, events) =
                rumqttc::v5::AsyncClient::new(v5::options(options, role), REQUESTS_MAX);
            (Client::V5(client), Connection::V5(Box::new(events), silence))
        }
    }
}

impl Connection {
    /// Waits for what happens next. Not cancel-safe: rumqttc may be in the middle of a packet, so a
    /// future that was polled must be polled to its end, or the connection dropped with it.
    ///
    /// # Errors
    /// The connection has ended; make another one. rumqttc would connect again at the next call.
    pub(crate) async fn next(&mut self) -> Result<Event, Lost> {
        let silence = match self {
            Self::V3(_, silence) | Self::V5(_, silence) => *silence,
        };
        let polled = tokio::time::timeout(silence, self.poll()).await;
        polled.unwrap_or(Err(Lost::Silent(silence)))
    }

    async fn poll(&mut self) -> Result<Event, Lost> {
        match self {
            Self::V3(events, _) => Ok(v3::event(events.poll().await.map_err(v3::lost)?)),
            Self::V5(events, _) => Ok(v5::event(events.poll().await.map_err(v5::lost)?)),
        }
    }
}

impl Client {
    /// Subscribes at QoS 1.
    pub(crate) fn subscribe(&self, filters: &[String]) -> Result<(), Lost> {
        let asked = match self {
            Self::V3(client) => client.try_subscribe_many(v3::filters(filters)).is_ok(),
            Self::V5(client) => client.try_subscribe_many(v5::filters(filters)).is_ok(),
        };
        asked.then_some(()).ok_or(Lost::Request)
    }

    /// Acknowledges a message of this connection.
    pub(crate) fn acknowledge(&self, packet_id: u16) -> Result<(), Lost> {
        let asked = match self {
            Self::V3(client) => client.try_ack(&v3::to_acknowledge(packet_id)).is_ok(),
            Self::V5(client) => client.try_ack(&v5::to_acknowledge(packet_id)).is_ok(),
        };
        asked.then_some(()).ok_or(Lost::Request)
    }

    /// Publishes a message on a valid topic.
    pub(crate) fn publish(&self, message: &Downlink, now_ms: i64) -> Result<(), Lost> {
        let asked = match self {
            Self::V3(client) => v3::publish(client, message),
            Self::V5(client) => v5::publish(client, message, now_ms),
        };
        asked.then_some(()).ok_or(Lost::Request)
    }

    /// Says goodbye, after everything that was asked for before.
    pub(crate) fn part(&self) {
        // If the request does not fit, the broker sees the connection end without one.
        let _ = match self {
            Self::V3(client) => client.try_disconnect().is_ok(),
            Self::V5(client) => client.try_disconnect().is_ok(),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use gnomon_tests::certificate::{Authority, Identity};
    use gnomon_tests::stack::{Kind, Part};

    use super::*;
    use crate::Tls;
    use crate::uplink::chain;

    #[tokio::test]
    async fn a_broker_that_is_not_trusted_is_told_with_what_to_do() {
        let authority = Authority::new();
        let Identity { certificate, key } = authority.issue("broker");
        let line = |word: &str, path: &Path| format!("{word} {}", path.display());
        let lines = [line("certfile", &certificate), line("keyfile", &key)];
        let broker = Part::start_with(Kind::Mosquitto, &lines.each_ref().map(String::as_str));
        let other = Authority::new();
        for version in [Version::V3, Version::V5] {
            let tls = Tls::load(Some(&other.certificate()), None, None).unwrap();
            let port = broker.address().port();
            let options =
                BridgeOptions { version, port, tls: Some(tls), ..BridgeOptions::default() };
            let (_client, mut connection) = open(&options, Role::Uplink);
            let text = chain(&connection.next().await.unwrap_err());
            assert!(text.contains("set broker_ca to the authority that signed it"), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }
}
