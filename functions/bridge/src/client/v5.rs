//! MQTT 5, by rumqttc.

use std::time::Duration;

use gnomon_host::downlink::{Downlink, Properties};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, Filter, Packet, PubAckReason, Publish, PublishProperties, RetainForwardRule,
    SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, MqttOptions};

use super::{Answer, Event, INFLIGHT_LIMIT, Lost, Received, Role, client_id};
use crate::options::BridgeOptions;
use crate::tls::mistrust;

pub(super) fn options(options: &BridgeOptions, role: Role) -> MqttOptions {
    let mut out = MqttOptions::new(client_id(options, role), options.host.clone(), options.port);
    let mut properties = ConnectProperties::new();
    // rumqttc's own limit is 10 KiB, and it tells the broker nothing unless it is set here.
    properties.max_packet_size = Some(options.packet_bytes_max);
    properties.receive_maximum = Some(options.inflight_max);
    properties.session_expiry_interval = match role {
        Role::Uplink => Some(options.session_expiry_s),
        Role::Downlink => None,
    };
    out.set_connect_properties(properties)
        .set_keep_alive(Duration::from_secs(options.keep_alive_s.into()))
        .set_clean_start(role == Role::Downlink)
        .set_manual_acks(true)
        .set_outgoing_inflight_upper_limit(INFLIGHT_LIMIT);
    if let Some(login) = &options.login {
        out.set_credentials(login.user_name.clone(), login.password.clone());
    }
    if let Some(tls) = &options.tls {
        out.set_transport(tls.transport());
    }
    out
}

pub(super) fn lost(error: rumqttc::v5::ConnectionError) -> Lost {
    let mistrust = match &error {
        rumqttc::v5::ConnectionError::Tls(error) => mistrust(error),
        _ => None,
    };
    mistrust.map_or_else(|| Lost::V5(Box::new(error)), Lost::Untrusted)
}

pub(super) fn event(event: rumqttc::v5::Event) -> Event {
    match event {
        rumqttc::v5::Event::Incoming(packet) => incoming(packet),
        rumqttc::v5::Event::Outgoing(Outgoing::Publish(packet_id)) => Event::Sent(packet_id),
        rumqttc::v5::Event::Outgoing(Outgoing::AwaitAck(_)) => Event::Collided,
        rumqttc::v5::Event::Outgoing(Outgoing::Disconnect) => Event::Parted,
        rumqttc::v5::Event::Outgoing(_) => Event::Other,
    }
}

fn incoming(packet: Packet) -> Event {
    match packet {
        Packet::ConnAck(connack) => Event::Connected {
            session_present: connack.session_present,
            packet_bytes_max: connack.properties.and_then(|all| all.max_packet_size),
        },
        Packet::SubAck(suback) => suback
            .return_codes
            .iter()
            .find_map(refused)
            .map_or(Event::Subscribed, Event::SubscriptionRefused),
        Packet::Publish(publish) => received(publish),
        Packet::PubAck(puback) => Event::Answered(puback.pkid, answer(puback.reason)),
        _ => Event::Other,
    }
}

fn received(publish: Publish) -> Event {
    Event::Received(Received {
        packet_id: (publish.qos != QoS::AtMostOnce).then_some(publish.pkid),
        // A topic that is no text is no device's, and is acknowledged as such.
        topic: String::from_utf8(publish.topic.into()).unwrap_or_default(),
        payload: publish.payload,
        is_again: publish.dup,
        is_retained: publish.retain,
    })
}

fn refused(code: &SubscribeReasonCode) -> Option<&'static str> {
    match code {
        SubscribeReasonCode::Success(_) => None,
        SubscribeReasonCode::NotAuthorized => Some("not authorized"),
        SubscribeReasonCode::TopicFilterInvalid => Some("topic filter invalid"),
        SubscribeReasonCode::QuotaExceeded => Some("quota exceeded"),
        SubscribeReasonCode::SharedSubscriptionsNotSupported => {
            Some("shared subscriptions are not supported; use plain ones and a single bridge")
        }
        SubscribeReasonCode::WildcardSubscriptionsNotSupported => {
            Some("wildcard subscriptions are not supported")
        }
        SubscribeReasonCode::Failure
        | SubscribeReasonCode::Unspecified
        | SubscribeReasonCode::ImplementationSpecific
        | SubscribeReasonCode::PkidInUse
        | SubscribeReasonCode::SubscriptionIdNotSupported => Some("failure"),
    }
}

fn answer(reason: PubAckReason) -> Answer {
    match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Answer::Taken,
        PubAckReason::NotAuthorized => Answer::Refused("not authorized"),
        PubAckReason::TopicNameInvalid => Answer::Refused("topic name invalid"),
        PubAckReason::PayloadFormatInvalid => Answer::Refused("payload format invalid"),
        PubAckReason::UnspecifiedError => Answer::NotNow("unspecified error"),
        PubAckReason::ImplementationSpecificError => {
            Answer::NotNow("implementation specific error")
        }
        PubAckReason::PacketIdentifierInUse => Answer::NotNow("packet identifier in use"),
        PubAckReason::QuotaExceeded => Answer::NotNow("quota exceeded"),
    }
}

pub(super) fn filters(filters: &[String]) -> Vec<Filter> {
    let filter = |path: &String| {
        let mut filter = Filter::new(path.clone(), QoS::AtLeastOnce);
        filter.retain_forward_rule = RetainForwardRule::Never;
        filter
    };
    filters.iter().map(filter).collect()
}

/// As much of a received publish as its acknowledgement needs.
pub(super) fn to_acknowledge(packet_id: u16) -> Publish {
    let mut publish = Publish::new("", QoS::AtLeastOnce, Vec::new(), None);
    publish.pkid = packet_id;
    publish
}

pub(super) fn publish(client: &AsyncClient, message: &Downlink, now_ms: i64) -> bool {
    let qos = if message.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
    let (topic, payload) = (message.topic.clone(), message.payload.clone());
    let properties = properties(&message.properties, now_ms);
    client.try_publish_with_properties(topic, qos, false, payload, properties).is_ok()
}

/// The properties that a message carries. What is left of its life is at least a second: whoever
/// has no more is not published.
fn properties(of: &Properties, now_ms: i64) -> PublishProperties {
    let expiry_s = of.expires_at_ms.map(|at| (at - now_ms).max(0) / 1000);
    PublishProperties {
        payload_format_indicator: of.is_utf8.map(u8::from),
        message_expiry_interval: expiry_s
            .map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX).max(1)),
        topic_alias: None,
        response_topic: of.response_topic.clone(),
        correlation_data: of.correlation.clone().map(Into::into),
        user_properties: of.user.clone(),
        subscription_identifiers: Vec::new(),
        content_type: of.content_type.clone(),
    }
}
