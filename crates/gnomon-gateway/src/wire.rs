//! MQTT packets of both versions as one set of requests and answers. Sans-IO: bytes in, bytes out.
//!
//! Invariants: nothing is acknowledged unless it is asked for here; a packet beyond the size limit
//! is refused before it is read.

use bytes::Bytes;
use gnomon_host::downlink::{Downlink, Properties};
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event, role};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet, Qos, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::{DisconnectReasonCode, MqttError};
use mqtt_protocol_core::mqtt::{Connection, Version};

use crate::options::GatewayOptions;
use crate::parse::{connect_v3, connect_v5, filter, publish_v3, publish_v5};
use crate::properties;

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
    Accepted { session_present: bool },
    IdentifierRejected,
    NotAuthorized,
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
    ProtocolError,
    TakenOver,
    KeepAlive,
    ShuttingDown,
    QosUnsupported,
}

/// One side of one connection.
pub(crate) struct Wire {
    protocol: Connection<role::Server>,
    out: Vec<u8>,
    /// The client is told the assigned id by MQTT 5 only.
    assigned_client: Option<String>,
    /// Receive Maximum that a client of MQTT 5 is told.
    receive_max: u16,
    /// Nothing more is read; the connection ends once `out` is sent.
    pub(crate) ended: bool,
}

impl Wire {
    pub(crate) fn new(options: &GatewayOptions) -> Self {
        // No limit of publishes under way here: it would cut off clients of MQTT 3.1.1, which are
        // never told of one. Those of MQTT 5 are told with CONNACK; for both, reading pauses.
        let limits = ConnectionOptions::new().maximum_packet_size_recv(options.packet_bytes_max);
        let mut protocol = Connection::with_options(Version::Undetermined, limits);
        protocol.set_auto_ping_response(true);
        let receive_max = options.pending_publishes_max;
        Self { protocol, out: Vec::new(), assigned_client: None, receive_max, ended: false }
    }

    pub(crate) fn is_v5(&self) -> bool {
        self.protocol.get_protocol_version() == Version::V5_0
    }

    /// Bytes to send, taken once.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Reads bytes; half a packet waits for its other half.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Vec<Request> {
        let mut cursor = Cursor::new(bytes);
        let mut requests = Vec::new();
        while !self.ended && (cursor.position() as usize) < bytes.len() {
            let events = self.protocol.recv(&mut cursor);
            self.act(events, &mut requests);
        }
        requests
    }

    fn act(&mut self, events: Vec<Event>, requests: &mut Vec<Request>) {
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    self.out.extend_from_slice(&packet.to_continuous_buffer());
                }
                Event::NotifyPacketReceived(packet) => match self.request(packet) {
                    Ok(request) => requests.extend(request),
                    Err(goodbye) => self.goodbye(goodbye),
                },
                Event::NotifyError(error) => self.failed(error),
                Event::RequestClose => self.ended = true,
                Event::NotifyPacketIdReleased(_)
                | Event::RequestTimerReset { .. }
                | Event::RequestTimerCancel(_) => {}
            }
        }
    }

    fn failed(&mut self, error: MqttError) {
        tracing::debug!(?error, "protocol error");
        self.ended = true;
    }

    fn request(&mut self, packet: Packet) -> Result<Option<Request>, Goodbye> {
        Ok(match packet {
            Packet::V3_1_1Connect(connect) => Some(Request::Connect(connect_v3(&connect))),
            Packet::V5_0Connect(connect) => Some(Request::Connect(connect_v5(&connect))),
            Packet::V3_1_1Publish(publish) => Some(Request::Publish(publish_v3(&publish)?)),
            Packet::V5_0Publish(publish) => Some(Request::Publish(publish_v5(&publish)?)),
            Packet::V3_1_1Puback(puback) => {
                Some(Request::Acknowledged { packet_id: puback.packet_id() })
            }
            Packet::V5_0Puback(puback) => {
                Some(Request::Acknowledged { packet_id: puback.packet_id() })
            }
            Packet::V3_1_1Subscribe(subscribe) => {
                let filters = subscribe.entries().iter().map(|entry| filter(entry, None)).collect();
                Some(Request::Subscribe { packet_id: subscribe.packet_id(), filters })
            }
            Packet::V5_0Subscribe(subscribe) => {
                let identifier = properties::subscription_identifier(subscribe.props());
                let entries = subscribe.entries().iter();
                let filters = entries.map(|entry| filter(entry, identifier)).collect();
                Some(Request::Subscribe { packet_id: subscribe.packet_id(), filters })
            }
            Packet::V3_1_1Unsubscribe(unsubscribe) => {
                let filters = unsubscribe.entries().iter().map(|one| one.as_str().to_owned());
                let filters = filters.collect();
                Some(Request::Unsubscribe { packet_id: unsubscribe.packet_id(), filters })
            }
            Packet::V5_0Unsubscribe(unsubscribe) => {
                let filters = unsubscribe.entries().iter().map(|one| one.as_str().to_owned());
                let filters = filters.collect();
                Some(Request::Unsubscribe { packet_id: unsubscribe.packet_id(), filters })
            }
            Packet::V3_1_1Disconnect(_) => {
                self.ended = true;
                Some(Request::Disconnect { with_will: false, session_expiry_s: None })
            }
            Packet::V5_0Disconnect(disconnect) => {
                self.ended = true;
                let reason = disconnect.reason_code();
                let with_will = reason == Some(DisconnectReasonCode::DisconnectWithWillMessage);
                let props = disconnect.props().as_deref().unwrap_or_default();
                let session_expiry_s = properties::session_expiry_s(props);
                Some(Request::Disconnect { with_will, session_expiry_s })
            }
            Packet::V3_1_1Pingreq(_) | Packet::V5_0Pingreq(_) => None,
            // Everything else belongs to QoS 2, to AUTH, or to a server.
            _ => return Err(Goodbye::ProtocolError),
        })
    }

    /// Names the client that came without an id; told with the CONNACK.
    pub(crate) fn assign(&mut self, client: &str) {
        self.assigned_client = Some(client.to_owned());
    }

    pub(crate) fn answer_connect(&mut self, answer: ConnectAnswer, expiry_s: Option<u32>) {
        let packet = if self.is_v5() {
            properties::connack_v5(answer, self.assigned_client.take(), expiry_s, self.receive_max)
        } else {
            properties::connack_v3(answer)
        };
        self.send(packet);
        self.ended |= !matches!(answer, ConnectAnswer::Accepted { .. });
    }

    pub(crate) fn answer_publish(&mut self, packet_id: u16, answer: PublishAnswer) {
        let packet = if self.is_v5() {
            let puback = v5_0::Puback::builder().packet_id(packet_id);
            puback.reason_code(properties::puback_code(answer)).build().map(Packet::from)
        } else {
            v3_1_1::Puback::builder().packet_id(packet_id).build().map(Packet::from)
        };
        self.send(packet);
    }

    pub(crate) fn answer_subscribe(&mut self, packet_id: u16, answers: &[SubscribeAnswer]) {
        let packet = if self.is_v5() {
            let codes = answers.iter().map(|answer| properties::suback_v5(*answer)).collect();
            v5_0::Suback::builder()
                .packet_id(packet_id)
                .reason_codes(codes)
                .build()
                .map(Packet::from)
        } else {
            let codes = answers.iter().map(|answer| properties::suback_v3(*answer)).collect();
            let suback = v3_1_1::Suback::builder().packet_id(packet_id);
            suback.return_codes(codes).build().map(Packet::from)
        };
        self.send(packet);
    }

    pub(crate) fn answer_unsubscribe(&mut self, packet_id: u16, existed: &[bool]) {
        let packet = if self.is_v5() {
            let codes = existed.iter().map(|existed| properties::unsuback_v5(*existed)).collect();
            let unsuback = v5_0::Unsuback::builder().packet_id(packet_id);
            unsuback.reason_codes(codes).build().map(Packet::from)
        } else {
            v3_1_1::Unsuback::builder().packet_id(packet_id).build().map(Packet::from)
        };
        self.send(packet);
    }

    /// Gives a message of QoS 1 its packet id; none while all are in use.
    pub(crate) fn packet_id(&mut self) -> Option<u16> {
        self.protocol.acquire_packet_id().ok()
    }

    /// Takes a packet id into use again, for a message that was sent on an earlier connection.
    pub(crate) fn reuse_packet_id(&mut self, packet_id: u16) -> bool {
        self.protocol.register_packet_id(packet_id).is_ok()
    }

    /// Sends a message. Returns whether it went out: one that is too large for the client does not,
    /// and its packet id is free again.
    pub(crate) fn publish(
        &mut self,
        message: &Downlink,
        packet_id: Option<u16>,
        is_again: bool,
        identifiers: &[u32],
        now_ms: i64,
    ) -> bool {
        let qos = if packet_id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let payload = message.payload.to_vec();
        let packet = if self.is_v5() {
            let props = properties::publish_v5(message, identifiers, now_ms);
            v5_0::Publish::builder().topic_name(message.topic.as_str()).and_then(|publish| {
                let publish = publish.qos(qos).dup(is_again).payload(payload).props(props);
                match packet_id {
                    Some(packet_id) => publish.packet_id(packet_id).build(),
                    None => publish.build(),
                }
                .map(Packet::from)
            })
        } else {
            v3_1_1::Publish::builder().topic_name(message.topic.as_str()).and_then(|publish| {
                let publish = publish.qos(qos).dup(is_again).payload(payload);
                match packet_id {
                    Some(packet_id) => publish.packet_id(packet_id).build(),
                    None => publish.build(),
                }
                .map(Packet::from)
            })
        };
        let events = packet.map(|packet| self.protocol.send(packet));
        let refusal =
            |event: &Event| matches!(event, Event::NotifyError(MqttError::PacketTooLarge));
        match events {
            Ok(events) if !events.iter().any(refusal) => {
                self.act(events, &mut Vec::new());
                true
            }
            refused => {
                tracing::debug!(topic = message.topic, ?refused, "a message is left out");
                if let Some(packet_id) = packet_id {
                    let events = self.protocol.release_packet_id(packet_id);
                    self.act(events, &mut Vec::new());
                }
                false
            }
        }
    }

    /// Ends the connection; MQTT 5 is told why.
    pub(crate) fn goodbye(&mut self, goodbye: Goodbye) {
        if !self.ended && self.is_v5() {
            let code = properties::disconnect_code(goodbye);
            self.send(v5_0::Disconnect::builder().reason_code(code).build().map(Packet::from));
        }
        self.ended = true;
    }

    fn send(&mut self, packet: Result<Packet, MqttError>) {
        match packet {
            Ok(packet) => {
                let events = self.protocol.send(packet);
                self.act(events, &mut Vec::new());
            }
            Err(error) => tracing::warn!(?error, "build a packet"),
        }
    }
}
