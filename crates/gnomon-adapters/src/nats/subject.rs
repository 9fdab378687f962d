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
    format!("{group}.{member}")
}

/// The member that a key of this group names.
pub(super) fn member<'k>(group: &str, key: &'k str) -> Option<&'k str> {
    key.strip_prefix(group)?.strip_prefix('.')
}

/// Key of a log's acknowledgements.
pub(super) fn acks(log: Log) -> String {
    format!("{}.{}", log.stream.as_str(), log.partition)
}

fn prefix(namespace: &str, log: Log) -> String {
    format!("{namespace}.{}.{}.", log.stream.as_str(), log.partition)
}

fn push_token(subject: &mut String, token: &str) {
    for byte in token.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'.' | b'*' | b'>' | b'=') {
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
}
