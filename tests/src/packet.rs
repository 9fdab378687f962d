//! MQTT packets, encoded and decoded by hand: as cheap as a client can be, and able to do what a
//! client library would refuse.
//!
//! See: MQTT 3.1.1 and 5, chapters 2 and 3.

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.
    V5,
}

/// What becomes of the session when the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// Forgotten at once.
    Clean,
    /// Kept for an hour at least.
    Kept,
}

/// Whether a publish goes out for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// For the first time.
    First,
    /// Again: DUP is set.
    Again,
}

/// A CONNECT.
#[derive(Debug, Clone, Copy)]
pub struct Connect<'a> {
    /// Version to speak.
    pub version: Version,
    /// Client id.
    pub client: &'a str,
    /// User name, if any; there is never a password.
    pub user: Option<&'a str>,
    /// What becomes of the session.
    pub session: Session,
}

/// A PUBLISH at QoS 1.
#[derive(Debug, Clone, Copy)]
pub struct Publish<'a> {
    /// Version that the connection speaks.
    pub version: Version,
    /// Topic.
    pub topic: &'a str,
    /// Packet id, not 0.
    pub packet: u16,
    /// Whether it went out before.
    pub sent: Sent,
    /// The bytes.
    pub payload: &'a [u8],
}

/// What a server sends. Text that is not UTF-8 and packets that are cut short are `Garbage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// The answer to CONNECT.
    Connected {
        /// Whether the server had a session of this client.
        session_present: bool,
        /// 0 is success.
        code: u8,
        /// How many publishes may be unacknowledged at a time.
        in_flight_max: u16,
    },
    /// The answer to PUBLISH.
    Acknowledged {
        /// Packet id of the publish.
        packet: u16,
        /// Below 0x80 is success.
        reason: u8,
    },
    /// The answer to SUBSCRIBE.
    Subscribed {
        /// Below 0x80 is success.
        reason: u8,
    },
    /// A message of a topic.
    Published {
        /// The topic.
        topic: &'a str,
        /// Packet id, at QoS 1.
        packet: Option<u16>,
        /// The bytes.
        payload: &'a [u8],
    },
    /// The server ends the connection.
    Disconnected {
        /// Why.
        reason: u8,
    },
    /// Anything else, by its first byte.
    Other(u8),
    /// Not a packet that a server may send.
    Garbage,
}

/// Seconds that a connection may be silent.
const KEEP_ALIVE_SECONDS: u16 = 600;
/// Seconds that a kept session lives without a connection.
const SESSION_EXPIRY_SECONDS: u32 = 3600;

fn number(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn text(out: &mut Vec<u8>, text: &str) {
    number(out, u16::try_from(text.len()).expect("a text of a packet is below 64 KiB"));
    out.extend_from_slice(text.as_bytes());
}

fn length(out: &mut Vec<u8>, mut rest: usize) {
    while rest > 127 {
        out.push((rest & 127) as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn packet(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    length(out, body.len());
    out.extend_from_slice(body);
}

/// Appends a CONNECT.
///
/// # Panics
/// A name is longer than 65,535 bytes.
pub fn connect(out: &mut Vec<u8>, connect: Connect<'_>) {
    let mut body = Vec::with_capacity(64);
    text(&mut body, "MQTT");
    body.push(if connect.version == Version::V5 { 5 } else { 4 });
    let clean = u8::from(connect.session == Session::Clean);
    body.push(clean << 1 | u8::from(connect.user.is_some()) << 7);
    number(&mut body, KEEP_ALIVE_SECONDS);
    match (connect.version, connect.session) {
        (Version::V311, _) => {}
        (Version::V5, Session::Clean) => body.push(0),
        (Version::V5, Session::Kept) => {
            body.extend_from_slice(&[5, 0x11]);
            body.extend_from_slice(&SESSION_EXPIRY_SECONDS.to_be_bytes());
        }
    }
    text(&mut body, connect.client);
    if let Some(user) = connect.user {
        text(&mut body, user);
    }
    packet(out, 0x10, &body);
}

/// Appends a PUBLISH at QoS 1.
///
/// # Panics
/// The topic is longer than 65,535 bytes.
pub fn publish(out: &mut Vec<u8>, publish: Publish<'_>) {
    let properties = usize::from(publish.version == Version::V5);
    out.push(0x32 | u8::from(publish.sent == Sent::Again) << 3);
    length(out, 2 + publish.topic.len() + 2 + properties + publish.payload.len());
    text(out, publish.topic);
    number(out, publish.packet);
    if publish.version == Version::V5 {
        out.push(0);
    }
    out.extend_from_slice(publish.payload);
}

/// Appends a SUBSCRIBE of one filter at QoS 1.
///
/// # Panics
/// The filter is longer than 65,535 bytes.
pub fn subscribe(out: &mut Vec<u8>, version: Version, id: u16, filter: &str) {
    let mut body = Vec::with_capacity(64);
    number(&mut body, id);
    if version == Version::V5 {
        body.push(0);
    }
    text(&mut body, filter);
    body.push(1);
    packet(out, 0x82, &body);
}

/// Appends a PUBACK, which is the same in both versions.
pub fn acknowledge(out: &mut Vec<u8>, id: u16) {
    out.extend_from_slice(&[0x40, 2]);
    number(out, id);
}

/// Takes the first whole packet apart; yields it and its length in bytes, or nothing when the
/// bytes do not hold a whole packet yet.
#[must_use]
pub fn decode(version: Version, bytes: &[u8]) -> Option<(Incoming<'_>, usize)> {
    let first = *bytes.first()?;
    let (rest, head) = read_length(bytes.get(1..)?)?;
    let body = bytes.get(1 + head..1 + head + rest)?;
    let incoming = read_body(version, first, body).unwrap_or(Incoming::Garbage);
    Some((incoming, 1 + head + rest))
}

/// A variable-length number and how many bytes it took.
fn read_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 127) << (7 * index);
        if byte & 128 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

fn read_number(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]))
}

fn skip_properties(version: Version, bytes: &[u8]) -> Option<&[u8]> {
    if version == Version::V311 {
        return Some(bytes);
    }
    let (length, head) = read_length(bytes)?;
    bytes.get(head + length..)
}

fn read_body(version: Version, first: u8, body: &[u8]) -> Option<Incoming<'_>> {
    Some(match first >> 4 {
        2 => Incoming::Connected {
            session_present: *body.first()? == 1,
            code: *body.get(1)?,
            in_flight_max: in_flight_max(version, body.get(2..)?),
        },
        3 => read_publish(version, first, body)?,
        4 => Incoming::Acknowledged {
            packet: read_number(body)?,
            reason: body.get(2).copied().unwrap_or(0),
        },
        9 => Incoming::Subscribed { reason: *skip_properties(version, body.get(2..)?)?.first()? },
        14 => Incoming::Disconnected { reason: body.first().copied().unwrap_or(0) },
        _ => Incoming::Other(first),
    })
}

fn read_publish(version: Version, first: u8, body: &[u8]) -> Option<Incoming<'_>> {
    let end = 2 + usize::from(read_number(body)?);
    let topic = std::str::from_utf8(body.get(2..end)?).ok()?;
    let rest = body.get(end..)?;
    let (packet, rest) = match first >> 1 & 3 {
        0 => (None, rest),
        _ => (Some(read_number(rest)?), rest.get(2..)?),
    };
    Some(Incoming::Published { topic, packet, payload: skip_properties(version, rest)? })
}

/// The Receive Maximum among the properties of a CONNACK; none of those that may precede it is
/// skipped wrongly, since unknown ones end the search.
fn in_flight_max(version: Version, properties: &[u8]) -> u16 {
    let Some((_, head)) = read_length(properties).filter(|_| version == Version::V5) else {
        return u16::MAX;
    };
    let mut rest = &properties[head..];
    loop {
        let size = match rest.first() {
            Some(0x21) => return rest.get(1..).and_then(read_number).unwrap_or(u16::MAX),
            Some(0x24 | 0x25 | 0x28 | 0x29 | 0x2a) => 1,
            Some(0x13 | 0x22) => 2,
            Some(0x11 | 0x27) => 4,
            Some(0x12 | 0x1a | 0x1c | 0x1f) => {
                2 + rest.get(1..).and_then(read_number).map_or(0, usize::from)
            }
            _ => return u16::MAX,
        };
        rest = rest.get(1 + size..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_have_the_bytes_of_the_standard() {
        let mut out = Vec::new();
        connect(
            &mut out,
            Connect {
                version: Version::V311,
                client: "c",
                user: Some("u"),
                session: Session::Clean,
            },
        );
        assert_eq!(out, b"\x10\x10\x00\x04MQTT\x04\x82\x02\x58\x00\x01c\x00\x01u");
        out.clear();
        connect(
            &mut out,
            Connect { version: Version::V5, client: "c", user: None, session: Session::Kept },
        );
        assert_eq!(out, b"\x10\x13\x00\x04MQTT\x05\x00\x02\x58\x05\x11\x00\x00\x0e\x10\x00\x01c");
        out.clear();
        subscribe(&mut out, Version::V5, 7, "a/#");
        assert_eq!(out, b"\x82\x09\x00\x07\x00\x00\x03a/#\x01");
    }

    #[test]
    fn a_publish_of_any_size_is_read_as_it_was_written() {
        for version in [Version::V311, Version::V5] {
            for size in [0, 1, 120, 130, 20_000] {
                let payload = vec![b'x'; size];
                let mut out = Vec::new();
                let sent = Sent::Again;
                publish(
                    &mut out,
                    Publish { version, topic: "a/b", packet: 9, sent, payload: &payload },
                );
                assert_eq!(out[0], 0x3a);
                let (incoming, used) = decode(version, &out).unwrap();
                assert_eq!(used, out.len());
                let expected =
                    Incoming::Published { topic: "a/b", packet: Some(9), payload: &payload };
                assert_eq!(incoming, expected);
                assert_eq!(decode(version, &out[..out.len() - 1]), None);
            }
        }
    }

    #[test]
    fn answers_are_understood() {
        for (version, bytes, expected) in [
            (
                Version::V311,
                &b"\x20\x02\x01\x00"[..],
                Incoming::Connected { session_present: true, code: 0, in_flight_max: u16::MAX },
            ),
            (
                Version::V5,
                b"\x20\x0b\x00\x00\x08\x24\x01\x21\x00\x14\x22\x00\x00",
                Incoming::Connected { session_present: false, code: 0, in_flight_max: 20 },
            ),
            (
                Version::V5,
                b"\x40\x03\x00\x05\x97",
                Incoming::Acknowledged { packet: 5, reason: 0x97 },
            ),
            (Version::V311, b"\x90\x03\x00\x01\x80", Incoming::Subscribed { reason: 0x80 }),
            (Version::V5, b"\x90\x04\x00\x01\x00\x01", Incoming::Subscribed { reason: 1 }),
            (Version::V5, b"\xe0\x01\x8e", Incoming::Disconnected { reason: 0x8e }),
            (Version::V311, b"\x40\x01\x00", Incoming::Garbage),
        ] {
            let (incoming, used) = decode(version, bytes).unwrap();
            assert_eq!((incoming, used), (expected, bytes.len()));
        }
    }
}
