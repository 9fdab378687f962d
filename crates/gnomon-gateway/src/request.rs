//! What clients ask, and how they are answered: the same for both versions of MQTT.

use bytes::Bytes;
use gnomon_host::downlink::Properties;

/// A request of a client, the same for both versions.
#[derive(Debug)]
pub(crate) enum Request {
    Connect(Connect),
    Publish(Publish),
    /// The client has received a QoS 1 message.
    Acknowledged {
        packet_id: u16,
    },
    Subscribe {
        packet_id: u16,
        filters: Vec<Filter>,
    },
    Unsubscribe {
        packet_id: u16,
        filters: Vec<String>,
    },
    /// The client ends the connection in order.
    Disconnect {
        with_will: bool,
        session_expiry_s: Option<u32>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connect {
    pub(crate) client: String,
    pub(crate) user_name: Option<String>,
    pub(crate) clean_start: bool,
    /// How long the session outlives the connection; none for ever.
    pub(crate) session_expiry_s: Option<u32>,
    pub(crate) keep_alive_s: u16,
    pub(crate) receive_max: u16,
    pub(crate) will: Option<Will>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    /// How long after the connection it is published, unless the client is back, seconds.
    pub(crate) delay_s: u32,
    pub(crate) properties: Properties,
}

#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    pub(crate) is_again: bool,
    pub(crate) packet_id: Option<u16>,
    pub(crate) properties: Properties,
}

#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) filter: String,
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
    pub(crate) identifier: Option<u32>,
}

/// How a connection attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectAnswer {
    Accepted {
        session_present: bool,
    },
    IdentifierRejected,
    NotAuthorized,
    /// As many connections as there may be.
    QuotaExceeded,
    /// Another gateway has not let go of the session in time, or the queue or store is away.
    Unavailable,
    /// MQTT 5: no method of enhanced authentication is served.
    MethodUnknown,
    /// MQTT 5: the will is to be retained.
    RetainUnsupported,
    /// MQTT 5: the will is of QoS 2.
    QosUnsupported,
}

/// How a publish ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublishAnswer {
    Accepted,
    NotAuthorized,
    TopicInvalid,
    QuotaExceeded,
    Failed,
}

/// How a subscription ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SubscribeAnswer {
    Granted(u8),
    NotAuthorized,
    FilterInvalid,
    SharedUnsupported,
    QuotaExceeded,
}

/// Why the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goodbye {
    MalformedPacket,
    ProtocolError,
    PacketTooLarge,
    TopicAliasInvalid,
    TakenOver,
    KeepAlive,
    ShuttingDown,
    QosUnsupported,
}
