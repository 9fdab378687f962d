//! MQTT 5 properties and reason codes, to and from what the gateway means.

use gnomon_host::downlink::{Downlink, Properties};
use mqtt_protocol_core::mqtt::packet::{
    AssignedClientIdentifier, ContentType, CorrelationData, MaximumQos, MessageExpiryInterval,
    Packet, PayloadFormat, PayloadFormatIndicator, Property, ReceiveMaximum, ResponseTopic,
    RetainAvailable, SessionExpiryInterval, SharedSubscriptionAvailable, SubscriptionIdentifier,
    UserProperty, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, MqttError, PubackReasonCode,
    SubackReasonCode, SubackReturnCode, UnsubackReasonCode,
};

use crate::request::{ConnectAnswer, Goodbye, PublishAnswer, SubscribeAnswer};

pub(crate) fn session_expiry_s(properties: &[Property]) -> Option<u32> {
    properties.iter().find_map(|property| match property {
        Property::SessionExpiryInterval(interval) => Some(interval.val()),
        _ => None,
    })
}

pub(crate) fn will_delay_s(properties: &[Property]) -> Option<u32> {
    properties.iter().find_map(|property| match property {
        Property::WillDelayInterval(interval) => Some(interval.val()),
        _ => None,
    })
}

pub(crate) fn receive_max(properties: &[Property]) -> Option<u16> {
    properties.iter().find_map(|property| match property {
        Property::ReceiveMaximum(maximum) => Some(maximum.val()),
        _ => None,
    })
}

pub(crate) fn subscription_identifier(properties: &[Property]) -> Option<u32> {
    properties.iter().find_map(|property| match property {
        Property::SubscriptionIdentifier(identifier) => Some(identifier.val()),
        _ => None,
    })
}

/// Whether the client asks for enhanced authentication.
pub(crate) fn has_authentication_method(properties: &[Property]) -> bool {
    properties.iter().any(|one| matches!(one, Property::AuthenticationMethod(_)))
}

/// What of a publish travels with the message. The expiry is left relative (seconds), see
/// [`crate::link`], where the clock is.
pub(crate) fn of_publish(properties: &[Property]) -> Properties {
    let mut found = Properties::default();
    for property in properties {
        match property {
            Property::PayloadFormatIndicator(format) => {
                found.is_utf8 = Some(format.val() == PayloadFormat::String as u8);
            }
            Property::MessageExpiryInterval(interval) => {
                found.expires_at_ms = Some(i64::from(interval.val()) * 1000);
            }
            Property::ContentType(text) => found.content_type = Some(text.val().to_owned()),
            Property::ResponseTopic(topic) => found.response_topic = Some(topic.val().to_owned()),
            Property::CorrelationData(bytes) => found.correlation = Some(bytes.val().to_vec()),
            Property::UserProperty(pair) => {
                found.user.push((pair.key().to_owned(), pair.val().to_owned()));
            }
            _ => {}
        }
    }
    found
}

/// Properties of a publish to a client.
pub(crate) fn publish_v5(message: &Downlink, identifiers: &[u32], now_ms: i64) -> Vec<Property> {
    let of = &message.properties;
    let expiry_s = of.expires_at_ms.map(|at| (at - now_ms).max(0) / 1000);
    let expiry_s = expiry_s.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
    let format =
        |is_utf8: bool| if is_utf8 { PayloadFormat::String } else { PayloadFormat::Binary };
    let built: [Option<Result<Property, MqttError>>; 5] = [
        of.is_utf8.map(|is_utf8| PayloadFormatIndicator::new(format(is_utf8)).map(Into::into)),
        expiry_s.map(|seconds| MessageExpiryInterval::new(seconds).map(Into::into)),
        of.content_type.as_deref().map(|text| ContentType::new(text).map(Into::into)),
        of.response_topic.as_deref().map(|topic| ResponseTopic::new(topic).map(Into::into)),
        of.correlation.as_deref().map(|bytes| CorrelationData::new(bytes.to_vec()).map(Into::into)),
    ];
    let mut properties: Vec<Property> =
        built.into_iter().flatten().filter_map(Result::ok).collect();
    for (key, value) in &of.user {
        properties.extend(UserProperty::new(key.as_str(), value.as_str()).map(Into::into));
    }
    for identifier in identifiers {
        properties.extend(SubscriptionIdentifier::new(*identifier).map(Into::into));
    }
    properties
}

/// CONNACK of MQTT 5: what is not served is said here (Maximum QoS 1, no retained messages, no
/// shared subscriptions); the size limit is added by the protocol.
pub(crate) fn connack_v5(
    answer: ConnectAnswer,
    assigned: Option<String>,
    expiry_s: Option<u32>,
    receive_max: u16,
) -> Result<Packet, MqttError> {
    let (code, session_present) = match answer {
        ConnectAnswer::Accepted { session_present } => {
            (ConnectReasonCode::Success, session_present)
        }
        ConnectAnswer::IdentifierRejected => (ConnectReasonCode::ClientIdentifierNotValid, false),
        ConnectAnswer::NotAuthorized => (ConnectReasonCode::NotAuthorized, false),
        ConnectAnswer::QuotaExceeded => (ConnectReasonCode::QuotaExceeded, false),
        ConnectAnswer::Unavailable => (ConnectReasonCode::ServerUnavailable, false),
        ConnectAnswer::MethodUnknown => (ConnectReasonCode::BadAuthenticationMethod, false),
        ConnectAnswer::RetainUnsupported => (ConnectReasonCode::RetainNotSupported, false),
        ConnectAnswer::QosUnsupported => (ConnectReasonCode::QosNotSupported, false),
    };
    let mut properties: Vec<Property> = Vec::new();
    if code == ConnectReasonCode::Success {
        properties.push(ReceiveMaximum::new(receive_max)?.into());
        properties.push(MaximumQos::new(1)?.into());
        properties.push(RetainAvailable::new(0)?.into());
        properties.push(SharedSubscriptionAvailable::new(0)?.into());
        if let Some(client) = assigned {
            properties.push(AssignedClientIdentifier::new(client.as_str())?.into());
        }
        if let Some(seconds) = expiry_s {
            properties.push(SessionExpiryInterval::new(seconds)?.into());
        }
    }
    let connack = v5_0::Connack::builder().session_present(session_present).reason_code(code);
    connack.props(properties).build().map(Packet::from)
}

pub(crate) fn connack_v3(answer: ConnectAnswer) -> Result<Packet, MqttError> {
    let (code, session_present) = match answer {
        ConnectAnswer::Accepted { session_present } => {
            (ConnectReturnCode::Accepted, session_present)
        }
        ConnectAnswer::IdentifierRejected => (ConnectReturnCode::IdentifierRejected, false),
        ConnectAnswer::QuotaExceeded | ConnectAnswer::Unavailable => {
            (ConnectReturnCode::ServerUnavailable, false)
        }
        ConnectAnswer::NotAuthorized
        // The rest is said to MQTT 5 only.
        | ConnectAnswer::MethodUnknown
        | ConnectAnswer::RetainUnsupported
        | ConnectAnswer::QosUnsupported => (ConnectReturnCode::NotAuthorized, false),
    };
    let connack = v3_1_1::Connack::builder().session_present(session_present).return_code(code);
    connack.build().map(Packet::from)
}

pub(crate) fn puback_code(answer: PublishAnswer) -> PubackReasonCode {
    match answer {
        PublishAnswer::Accepted => PubackReasonCode::Success,
        PublishAnswer::NotAuthorized => PubackReasonCode::NotAuthorized,
        PublishAnswer::TopicInvalid => PubackReasonCode::TopicNameInvalid,
        PublishAnswer::QuotaExceeded => PubackReasonCode::QuotaExceeded,
        PublishAnswer::Failed => PubackReasonCode::UnspecifiedError,
    }
}

pub(crate) fn suback_v5(answer: SubscribeAnswer) -> SubackReasonCode {
    match answer {
        SubscribeAnswer::Granted(0) => SubackReasonCode::GrantedQos0,
        SubscribeAnswer::Granted(_) => SubackReasonCode::GrantedQos1,
        SubscribeAnswer::NotAuthorized => SubackReasonCode::NotAuthorized,
        SubscribeAnswer::FilterInvalid => SubackReasonCode::TopicFilterInvalid,
        SubscribeAnswer::SharedUnsupported => SubackReasonCode::SharedSubscriptionsNotSupported,
        SubscribeAnswer::QuotaExceeded => SubackReasonCode::QuotaExceeded,
    }
}

pub(crate) fn suback_v3(answer: SubscribeAnswer) -> SubackReturnCode {
    match answer {
        SubscribeAnswer::Granted(0) => SubackReturnCode::SuccessMaximumQos0,
        SubscribeAnswer::Granted(_) => SubackReturnCode::SuccessMaximumQos1,
        SubscribeAnswer::NotAuthorized
        | SubscribeAnswer::FilterInvalid
        | SubscribeAnswer::SharedUnsupported
        | SubscribeAnswer::QuotaExceeded => SubackReturnCode::Failure,
    }
}

pub(crate) fn unsuback_v5(existed: bool) -> UnsubackReasonCode {
    if existed { UnsubackReasonCode::Success } else { UnsubackReasonCode::NoSubscriptionExisted }
}

pub(crate) fn disconnect_code(goodbye: Goodbye) -> DisconnectReasonCode {
    match goodbye {
        Goodbye::MalformedPacket => DisconnectReasonCode::MalformedPacket,
        Goodbye::PacketTooLarge => DisconnectReasonCode::PacketTooLarge,
        Goodbye::TopicAliasInvalid => DisconnectReasonCode::TopicAliasInvalid,
        Goodbye::ProtocolError => DisconnectReasonCode::ProtocolError,
        Goodbye::TakenOver => DisconnectReasonCode::SessionTakenOver,
        Goodbye::KeepAlive => DisconnectReasonCode::KeepAliveTimeout,
        Goodbye::ShuttingDown => DisconnectReasonCode::ServerShuttingDown,
        Goodbye::QosUnsupported => DisconnectReasonCode::QosNotSupported,
    }
}

/// Why a connection ends that the protocol cannot go on with. Its errors are many; what none of
/// the more telling words fits is a packet that cannot be read.
pub(crate) fn goodbye(error: MqttError) -> Goodbye {
    match error {
        MqttError::ProtocolError => Goodbye::ProtocolError,
        MqttError::PacketTooLarge => Goodbye::PacketTooLarge,
        MqttError::TopicAliasInvalid => Goodbye::TopicAliasInvalid,
        _ => Goodbye::MalformedPacket,
    }
}

/// Why a CONNECT of MQTT 5 cannot be read.
pub(crate) fn connect_code(error: MqttError) -> ConnectReasonCode {
    match error {
        MqttError::ProtocolError => ConnectReasonCode::ProtocolError,
        MqttError::ClientIdentifierNotValid => ConnectReasonCode::ClientIdentifierNotValid,
        MqttError::BadUserNameOrPassword => ConnectReasonCode::BadUserNameOrPassword,
        MqttError::UnsupportedProtocolVersion => ConnectReasonCode::UnsupportedProtocolVersion,
        _ => ConnectReasonCode::MalformedPacket,
    }
}
