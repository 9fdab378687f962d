//! What may be on its way to the server at once: of one device and log, one message.

use std::collections::HashMap;

use gnomon_host::port::{Log, Message};
use gnomon_model::DeviceKey;

/// Parts messages so that each part holds at most one of a device and log, in order.
pub(super) fn waves(messages: Vec<Message>) -> Vec<Vec<Message>> {
    let mut waves: Vec<Vec<Message>> = Vec::new();
    let mut turns: HashMap<(Log, Option<DeviceKey>), usize> = HashMap::new();
    for message in messages {
        let turn = turns.entry((message.log, message.device.clone())).or_default();
        if waves.len() <= *turn {
            waves.push(Vec::new());
        }
        waves[*turn].push(message);
        *turn += 1;
    }
    waves
}

#[cfg(test)]
mod tests {
    use gnomon_host::port::Stream;

    use super::*;

    #[test]
    fn a_wave_holds_one_message_of_a_device_and_order_is_kept() {
        let log = Log { stream: Stream::Telemetry, partition: 0 };
        let message = |id: &str, device: Option<&str>| Message {
            log,
            id: id.to_owned(),
            device: device.map(|device| DeviceKey::parse("p", device).unwrap()),
            body: bytes::Bytes::new(),
        };
        let all = [
            ("a1", Some("a")),
            ("a2", Some("a")),
            ("b1", Some("b")),
            ("n1", None),
            ("a3", Some("a")),
            ("n2", None),
        ];
        let waves = waves(all.into_iter().map(|(id, device)| message(id, device)).collect());
        let ids: Vec<Vec<_>> =
            waves.iter().map(|wave| wave.iter().map(|one| one.id.as_str()).collect()).collect();
        assert_eq!(ids, [vec!["a1", "b1", "n1"], vec!["a2", "n2"], vec!["a3"]]);
    }
}
