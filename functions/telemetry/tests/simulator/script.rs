//! What devices say: the messages of one seed, known to the oracle before anybody sees them.

use bytes::Bytes;
use gnomon_dialect::plain::telemetry_topic;
use gnomon_host::port::{Log, Message, Stream};
use gnomon_model::{DeviceKey, Envelope, EnvelopeId, Presence, What};
use serde_json::json;

use crate::random::Random;

/// Partitions of the simulated queue.
pub(crate) const PARTITIONS: u16 = 2;
/// The first moment of the simulated world, Unix milliseconds.
pub(crate) const T0: i64 = 1_700_000_000_000;
/// Devices of every world, two in each partition.
const DEVICES: [(&str, &str); 4] =
    [("coldroom", "north"), ("coldroom", "quay"), ("coldroom", "south"), ("machine", "mill")];
/// Most messages of one device.
const MESSAGES_MAX: usize = 12;

/// What one message says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// A temperature in tenths of a degree, with the message's number where the model has a label.
    Report { tenths: i64, time_ms: i64, misfit: bool },
    /// State of the compressor: 0 off, 1 on.
    Compressor { on: bool },
    /// The event `compressorFault`.
    CompressorFault,
    /// A request that a rule of the cold room answers.
    Limits,
    /// A payload that is not JSON.
    NotJson,
    /// A message that is no envelope at all.
    NoEnvelope,
    /// A connection with this number began or ended.
    Presence { online: bool, connection: usize },
}

/// One message of one device.
#[derive(Debug, Clone)]
pub(crate) struct Spoken {
    pub(crate) id: String,
    pub(crate) device: DeviceKey,
    /// Number among the messages of its device, from 0.
    pub(crate) number: usize,
    pub(crate) received_at_ms: i64,
    pub(crate) said: Said,
}

/// The messages of one seed, device by device.
pub(crate) fn script(seed: u64) -> Vec<Vec<Spoken>> {
    let mut random = Random::new(seed, 1);
    // In some lives devices do little else than to come and go.
    let restless = if random.happens(250) { 850 } else { 0 };
    DEVICES.iter().map(|(product, name)| of_device(&mut random, restless, product, name)).collect()
}

fn of_device(random: &mut Random, restless: usize, product: &str, name: &str) -> Vec<Spoken> {
    let device = DeviceKey::parse(product, name).unwrap();
    let mut connection = 0;
    let count = 3 + random.below(MESSAGES_MAX - 2);
    let spoken = (0..count).map(|number| {
        let received_at_ms = T0 + 1000 * number as i64;
        let said = if random.happens(restless) {
            presence(random, &mut connection)
        } else {
            say(random, product == "coldroom", received_at_ms, &mut connection)
        };
        let id = format!("{name}-{number}");
        Spoken { id, device: device.clone(), number, received_at_ms, said }
    });
    spoken.collect()
}

/// A connection that begins, or the end of the newest one or of the one before.
fn presence(random: &mut Random, connection: &mut usize) -> Said {
    if random.happens(500) {
        *connection += 1;
        return Said::Presence { online: true, connection: *connection };
    }
    let ended = connection.saturating_sub(random.below(2));
    Said::Presence { online: false, connection: ended }
}

fn say(random: &mut Random, is_room: bool, now_ms: i64, connection: &mut usize) -> Said {
    match random.below(if is_room { 20 } else { 15 }) {
        0 => Said::NotJson,
        1 => Said::NoEnvelope,
        2..=5 => presence(random, connection),
        15 | 16 => Said::CompressorFault,
        17 | 18 => Said::Compressor { on: random.happens(700) },
        19 => Said::Limits,
        _ => {
            let tenths = match (is_room, random.below(4)) {
                (true, 0) => 65 + random.below(30) as i64,
                (true, 1) => 81 + random.below(30) as i64,
                (true, _) => 20 + random.below(60) as i64,
                (false, 0) => 950 + random.below(100) as i64,
                (false, 1) => 400 + random.below(100) as i64,
                (false, _) => 300 + random.below(900) as i64,
            };
            // Some measured long before they are sent.
            let late_ms = if random.happens(200) { 500 + 1000 * random.below(3) as i64 } else { 0 };
            Said::Report { tenths, time_ms: now_ms - late_ms, misfit: random.happens(100) }
        }
    }
}

impl Spoken {
    /// The label that a cold room reports: its own number.
    pub(crate) fn label(&self) -> String {
        format!("report {}", self.number)
    }

    pub(crate) fn is_room(&self) -> bool {
        self.device.product.as_str() == "coldroom"
    }

    /// The partition in which it is taken.
    pub(crate) fn log(&self) -> Log {
        Log { stream: Stream::Telemetry, partition: self.device.partition(PARTITIONS) }
    }

    /// The payload of what a device publishes; empty for everything else.
    pub(crate) fn payload(&self) -> Vec<u8> {
        match &self.said {
            Said::Report { tenths, time_ms, misfit } => {
                let mut values = json!({ "temperature": *tenths as f64 / 10.0 });
                if self.is_room() {
                    values["label"] = json!(self.label());
                }
                if *misfit {
                    values["colour"] = json!("blue");
                }
                json!({ "time": time_ms, "values": values }).to_string().into_bytes()
            }
            Said::Compressor { on } => json!({ "compressor": i64::from(*on) }).to_string().into(),
            Said::CompressorFault => {
                json!({ "code": self.number, "detail": "hot" }).to_string().into()
            }
            Said::NotJson => b"{oops".to_vec(),
            Said::Limits | Said::NoEnvelope | Said::Presence { .. } => Vec::new(),
        }
    }

    fn topic(&self) -> String {
        let topic = telemetry_topic(&self.device);
        let root = topic.trim_end_matches("telemetry");
        match &self.said {
            Said::CompressorFault => format!("{root}events/compressorFault"),
            Said::Limits => format!("{root}requests/limits/q{}", self.number),
            Said::Report { .. }
            | Said::Compressor { .. }
            | Said::NotJson
            | Said::NoEnvelope
            | Said::Presence { .. } => topic,
        }
    }

    /// The message as the gateway appends it.
    pub(crate) fn message(&self) -> Message {
        let what = match &self.said {
            Said::Presence { online, connection } => What::Presence(Presence {
                online: *online,
                connection: connection.to_string(),
                reason: "simulated".into(),
                dialect: None,
            }),
            _ => What::Published {
                topic: self.topic(),
                payload: self.payload().into(),
                packet: None,
            },
        };
        let id = EnvelopeId::parse(&self.id).unwrap();
        let (device, received_at_ms) = (self.device.clone(), self.received_at_ms);
        let envelope = Envelope { id, device, received_at_ms, what };
        let body = match self.said {
            Said::NoEnvelope => Bytes::from_static(b"no envelope"),
            _ => envelope.encode(),
        };
        let device = Some(self.device.clone());
        Message { log: self.log(), id: self.id.clone(), device, body }
    }
}
