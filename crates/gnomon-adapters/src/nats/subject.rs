//! Names on NATS: streams, subjects, keys.
//!
//! Subject of a message: `namespace.stream.partition.product.device`, or `….-` for one that concerns
//! no device. Tokens are escaped: a byte that NATS gives a meaning (`.`, `*`, `>`, white space) or that
//! is no printable ASCII becomes `=XX`, and so does `=` itself.

use std::fmt::Write;

use gnomon_host::port::Log;
use gnomon_model::DeviceKey;

/// Name of a log's stream.
pub(super) fn stream(namespace: &str, log: Log) -> String {
    format!("{namespace}-{}-{}", log.stream.as_str(), log.partition)
}

/// All subjects of a log.
pub(super) fn all(namespace: &str, log: Log) -> String {
    format!("{}>", prefix(namespace, log))
}

/// Subject of a message.
pub(super) fn message(namespace: &str, log: Log, device: Option<&DeviceKey>) -> String {
    let mut subject = prefix(namespace, log);
    match device {
        None => subject.push('-'),
        Some(device) => {
            push_token(&mut subject, device.product.as_str());
            subject.push('.');
            push_token(&mut subject, device.device.as_str());
        }
    }
    subject
}

/// Name of the bucket of acknowledgements.
pub(super) fn acks_bucket(namespace: &str) -> String {
    format!("{namespace}-acks")
}

/// Name of the bucket of workers that are there.
pub(super) fn workers_bucket(namespace: &str) -> String {
    format!("{namespace}-workers")
}

/// Key of a worker.
pub(super) fn worker(group: &str, member: &str) -> String {
    let mut key = token(group);
    key.push('.');
    key.push_str(member);
    key
}

/// The member that a key of this group names.
pub(super) fn member<'k>(group: &str, key: &'k str) -> Option<&'k str> {
    key.strip_prefix(&token(group))?.strip_prefix('.')
}

/// Key of the acknowledgements of a log, by its one consumer or by a named reader.
pub(super) fn acks(log: Log, reader: Option<&str>) -> String {
    let mut key = format!("{}.{}", log.stream.as_str(), log.partition);
    if let Some(reader) = reader {
        key.push('.');
        push_token(&mut key, reader);
    }
    key
}

/// Pattern of the keys of a log's readers.
pub(super) fn readers(log: Log) -> String {
    format!("{}.*", acks(log, None))
}

/// Pattern of the keys of a group's workers.
pub(super) fn workers(group: &str) -> String {
    format!("{}.*", token(group))
}

/// Subject of a key in a bucket whose subjects begin with `prefix`.
pub(super) fn entry(prefix: &str, key: &str) -> String {
    format!("{prefix}{key}")
}

/// The reader of this log that a key of acknowledgements names.
pub(super) fn reader(log: Log, key: &str) -> Option<String> {
    let token = key.strip_prefix(&acks(log, None))?.strip_prefix('.')?;
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'=' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// What begins the names of a log's consumers: each epoch has its own.
pub(super) fn consumers(reader: Option<&str>) -> String {
    let mut name = String::new();
    if let Some(reader) = reader {
        push_token(&mut name, reader);
        name.push('-');
    }
    name.push_str("epoch-");
    name
}

fn prefix(namespace: &str, log: Log) -> String {
    format!("{namespace}.{}.{}.", log.stream.as_str(), log.partition)
}

fn token(text: &str) -> String {
    let mut token = String::new();
    push_token(&mut token, text);
    token
}

fn push_token(subject: &mut String, token: &str) {
    for byte in token.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'.' | b'*' | b'>' | b'=' | b'/' | b'\\') {
            subject.push(char::from(byte));
        } else {
            write!(subject, "={byte:02X}").expect("a string takes everything");
        }
    }
}

#[cfg(test)]
mod tests {
    use gnomon_host::port::Stream;

    use super::*;

    #[test]
    fn a_subject_names_partition_product_and_device_in_single_tokens() {
        let log = Log { stream: Stream::Telemetry, partition: 3 };
        let device = DeviceKey::parse("coldroom", "a.b:c=设").unwrap();
        let subject = message("gnomon", log, Some(&device));
        assert_eq!(subject, "gnomon.telemetry.3.coldroom.a=2Eb:c=3D=E8=AE=BE");
        assert_eq!(message("gnomon", log, None), "gnomon.telemetry.3.-");
        assert_eq!(all("gnomon", log), "gnomon.telemetry.3.>");
        assert_eq!(stream("gnomon", log), "gnomon-telemetry-3");
    }

    #[test]
    fn a_reader_is_found_in_the_key_of_its_acknowledgements() {
        let log = Log { stream: Stream::Downlink, partition: 0 };
        for name in ["gateway-1", "bridge-a.b c/设", "=", "x"] {
            let key = acks(log, Some(name));
            assert_eq!(key.matches('.').count(), 2, "{key}");
            assert_eq!(reader(log, &key).as_deref(), Some(name));
        }
        assert_eq!(acks(log, None), "downlink.0");
        assert_eq!(reader(log, "downlink.0"), None);
        assert_eq!(reader(log, "downlink.01.x"), None);
        assert_eq!(reader(log, "telemetry.0.x"), None);
    }
}
