//! Settings: command line over environment over `gnomon.toml` over defaults.
//!
//! Invariants: an unknown key is an error, and every error is told at once, with where it stands.

mod read;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::Dict;
use gnomon_model::Waits;
use serde::Serialize;

use crate::ports::Place;
use crate::{Failure, Part};

/// Keys that `gnomon.toml` and `GNOMON_…` may hold.
const KEYS: [&str; 27] = [
    "mqtt",
    "http",
    "data",
    "rules",
    "schemas",
    "partitions",
    "queue",
    "store",
    "broker",
    "namespace",
    "replicas",
    "telemetry_replicas",
    "queue_monitor",
    "kept_days",
    "kept_mib",
    "queue_credentials",
    "queue_token",
    "queue_ca",
    "store_ca",
    "broker_group",
    "broker_client",
    "broker_ca",
    "broker_cert",
    "broker_key",
    "only",
    "alert_remind",
    "rule_call_timeout",
];
/// Variables with the prefix that are no settings.
const NOT_SETTINGS: [&str; 2] = ["log", "config"];

/// What the command line says; everything also as `GNOMON_MQTT` …, and in `gnomon.toml`.
#[derive(Debug, Default, Args, Serialize)]
pub struct Flags {
    /// Where devices connect [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtt: Option<String>,
    /// Where applications connect [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<String>,
    /// Where everything is kept [default: ./data]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    /// Rules, one file each [default: ./rules]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<String>,
    /// Thing models, one folder a product [default: ./schemas]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    schemas: Option<String>,
    /// NATS to use instead of the data directory, `nats://host:4222`; needs --store
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    /// Redis to use instead of the data directory, `redis://host:6379`; needs --queue
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<String>,
    /// MQTT broker that devices use instead of our own gateway, `mqtt://host:1883` or `mqtts://…`
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<String>,
    /// Remind of an alert that nobody acknowledged, after this time, such as 15m [default: never]
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    alert_remind: Option<String>,
    /// How long a call by a rule waits for the device's reply [default: 60s]
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_call_timeout: Option<String>,
    /// Run these parts only, with commas: gateway, api, telemetry, shadow, rrpc, alert, timer
    #[arg(long, value_name = "PARTS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    only: Option<String>,
    /// First part of every name in NATS and Redis [default: gnomon]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    /// Copies of every stream in NATS, 1 to 5 [default: 1]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas: Option<u8>,
    /// Partitions of the uplink, fixed when data directory or streams are made [default: 4]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<u16>,
    /// Settings file [default: ./gnomon.toml if it exists]
    #[arg(long, value_name = "FILE", env = "GNOMON_CONFIG")]
    #[serde(skip)]
    config: Option<PathBuf>,
}

/// Settings that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where devices connect.
    pub mqtt: SocketAddr,
    /// Where applications connect.
    pub http: SocketAddr,
    /// What `gnomon run` runs.
    pub parts: Vec<Part>,
    /// Where everything is kept.
    pub place: Place,
    /// Address of the MQTT broker that devices use, if it is not our own gateway.
    pub broker: Option<String>,
    /// Group under which several bridges share a broker's messages.
    pub broker_group: String,
    /// Begins the bridge's client ids; of several bridges, each needs its own.
    pub broker_client: Option<String>,
    /// Authority to trust for the broker.
    pub broker_ca: Option<PathBuf>,
    /// Certificate that the bridge shows the broker.
    pub broker_cert: Option<PathBuf>,
    /// Key of that certificate.
    pub broker_key: Option<PathBuf>,
    /// First part of every name in NATS and Redis.
    pub namespace: String,
    /// Copies of every stream in NATS.
    pub replicas: u8,
    /// Copies of the telemetry streams, if another number.
    pub telemetry_replicas: Option<u8>,
    /// Monitoring port of NATS, where it tells how often it syncs.
    pub queue_monitor: Option<String>,
    /// Days for which NATS keeps what is acknowledged.
    pub kept_days: u16,
    /// MiB that each telemetry log keeps on NATS at most, and four logs of commands together.
    pub kept_mib: u16,
    /// Credentials file or nkey seed file for NATS.
    pub queue_credentials: Option<PathBuf>,
    /// Token for NATS.
    pub queue_token: Option<String>,
    /// Authority to trust for NATS.
    pub queue_ca: Option<PathBuf>,
    /// Authority to trust for Redis.
    pub store_ca: Option<PathBuf>,
    /// Rules, one file each.
    pub rules: PathBuf,
    /// Thing models, one folder a product.
    pub schemas: PathBuf,
    /// Partitions of the uplink, 1 to 1024.
    pub partitions: u16,
    /// After how long somebody is reminded of an alert, if at all: from a second to 30 days.
    pub alert_remind: Option<Duration>,
    /// How long a call by a rule waits for its reply: from a second to a day.
    pub rule_call_timeout: Duration,
}

impl Settings {
    /// Reads all sources.
    pub fn load(flags: &Flags) -> Result<Self, Failure> {
        let file = flags.config.clone().unwrap_or_else(|| PathBuf::from("gnomon.toml"));
        if flags.config.is_some() && !file.is_file() {
            return Err(Failure::new(format!("settings file {} does not exist", file.display())));
        }
        let environment = Env::prefixed("GNOMON_").ignore(&NOT_SETTINGS);
        let mut figment = Figment::new()
            .merge(Serialized::default("mqtt", "127.0.0.1:1883"))
            .merge(Serialized::default("http", "127.0.0.1:8080"))
            .merge(Serialized::default("data", "./data"))
            .merge(Serialized::default("rules", "./rules"))
            .merge(Serialized::default("schemas", "./schemas"))
            .merge(Serialized::default("namespace", "gnomon"))
            .merge(Serialized::default("broker_group", "gnomon"))
            .merge(Serialized::default("rule_call_timeout", "60s"))
            .merge(Serialized::default("replicas", 1))
            .merge(Serialized::default("kept_days", 7))
            .merge(Serialized::default("kept_mib", 256))
            .merge(Serialized::default("partitions", 4));
        if file.is_file() {
            figment = figment.merge(Toml::file_exact(file));
        }
        let figment = figment.merge(environment).merge(Serialized::defaults(flags));
        Self::extract(&figment)
    }

    /// How long what a step begins waits.
    #[must_use]
    pub fn waits(&self) -> Waits {
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Waits { rule_call_ms: ms(self.rule_call_timeout), remind_ms: self.alert_remind.map(ms) }
    }

    fn extract(figment: &Figment) -> Result<Self, Failure> {
        let mut reader = Reader { figment, errors: Vec::new() };
        reader.refuse_unknown();
        let settings = reader.all();
        match settings {
            Some(settings) if reader.errors.is_empty() => Ok(settings),
            _ => Err(Failure(reader.errors)),
        }
    }
}

struct Reader<'a> {
    figment: &'a Figment,
    errors: Vec<String>,
}

impl Reader<'_> {
    fn refuse_unknown(&mut self) {
        match self.figment.extract::<Dict>() {
            Ok(all) => {
                for key in all.keys().filter(|key| !KEYS.contains(&key.as_str())) {
                    let place = self.place(key);
                    let known = KEYS.join(", ");
                    self.errors
                        .push(format!("setting `{key}`{place} is unknown: known are {known}"));
                }
            }
            Err(error) => self.errors.extend(error.into_iter().map(|one| one.to_string())),
        }
    }

    /// Every setting is read before anything is given up, so that all errors are told.
    fn all(&mut self) -> Option<Settings> {
        let mqtt = self.read::<SocketAddr>("mqtt", "an address such as 127.0.0.1:1883");
        let http = self.read::<SocketAddr>("http", "an address such as 127.0.0.1:8080");
        let rules = self.read::<PathBuf>("rules", "a directory");
        let schemas = self.read::<PathBuf>("schemas", "a directory");
        let partitions = self.number("partitions", 1024);
        let replicas = self.number("replicas", 5);
        let namespace = self.namespace();
        let broker_group = self.read::<String>("broker_group", "a name");
        let parts = self.parts();
        let place = self.place_to_keep();
        let rule_call_timeout = self.time("rule_call_timeout", 86_400);
        let given = self.figment.find_value("telemetry_replicas").is_ok();
        let telemetry_replicas = given
            .then(|| self.number("telemetry_replicas", 5))
            .flatten()
            .map(|copies| copies as u8);
        let kept_days = self.number("kept_days", 3650);
        let kept_mib = self.number("kept_mib", u16::MAX);
        Some(Settings {
            alert_remind: self.optional_time("alert_remind", 30 * 86_400),
            rule_call_timeout: rule_call_timeout?,
            kept_days: kept_days?,
            kept_mib: kept_mib?,
            telemetry_replicas,
            queue_monitor: self
                .optional("queue_monitor", "an address such as http://127.0.0.1:8222"),
            broker: self.optional("broker", "an address such as mqtt://127.0.0.1:1883"),
            broker_client: self.optional("broker_client", "a name"),
            broker_ca: self.optional("broker_ca", "a file"),
            broker_cert: self.optional("broker_cert", "a file"),
            broker_key: self.optional("broker_key", "a file"),
            queue_credentials: self.optional("queue_credentials", "a file"),
            queue_token: self.optional("queue_token", "a text"),
            queue_ca: self.optional("queue_ca", "a file"),
            store_ca: self.optional("store_ca", "a file"),
            mqtt: mqtt?,
            http: http?,
            rules: rules?,
            schemas: schemas?,
            partitions: partitions?,
            replicas: u8::try_from(replicas?).ok()?,
            namespace: namespace?,
            broker_group: broker_group?,
            parts: parts?,
            place: place?,
        })
    }

    fn parts(&mut self) -> Option<Vec<Part>> {
        let Some(text) = self.optional::<String>("only", "names with commas") else {
            return Some(Part::ALL.to_vec());
        };
        let mut parts = Vec::new();
        for name in text.split(',').map(str::trim) {
            match Part::ALL.into_iter().find(|part| part.as_str() == name) {
                Some(part) => parts.push(part),
                None => {
                    let (place, known) = (self.place("only"), Part::ALL.map(Part::as_str));
                    let known = known.join(", ");
                    let line = format!("setting `only`{place} names `{name}`: known are {known}");
                    self.errors.push(line);
                }
            }
        }
        Some(parts)
    }

    fn place_to_keep(&mut self) -> Option<Place> {
        let data = self.read::<PathBuf>("data", "a directory");
        let queue = self.optional::<String>("queue", "an address such as nats://127.0.0.1:4222");
        let store = self.optional::<String>("store", "an address such as redis://127.0.0.1:6379");
        match (queue, store) {
            (None, None) => data.map(Place::Embedded),
            (Some(queue), Some(store)) => Some(Place::Remote { queue, store }),
            (Some(_), None) => self.lone("queue", "store"),
            (None, Some(_)) => self.lone("store", "queue"),
        }
    }

    fn lone(&mut self, given: &str, missing: &str) -> Option<Place> {
        let line = format!("setting `{given}` needs `{missing}` too: NATS and Redis go together");
        self.errors.push(line);
        None
    }

    fn namespace(&mut self) -> Option<String> {
        let name = self.read::<String>("namespace", "a name")?;
        let letters =
            |name: &str| name.chars().all(|one| one.is_ascii_alphanumeric() || one == '_');
        if !name.is_empty() && name.len() <= 32 && letters(&name) {
            return Some(name);
        }
        let place = self.place("namespace");
        let wanted = "1 to 32 letters, digits and underscores";
        self.errors.push(format!("setting `namespace`{place} is `{name}`, not {wanted}"));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str) -> Result<Settings, Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), toml).unwrap();
        Settings::load(&Flags { config: Some(file.path().to_owned()), ..Flags::default() })
    }

    #[test]
    fn a_file_overrides_the_defaults() {
        let settings = load("http = \"127.0.0.1:9\"\npartitions = 8").unwrap();
        assert_eq!(settings.http.port(), 9);
        assert_eq!(settings.mqtt.port(), 1883);
        assert_eq!(settings.partitions, 8);
    }

    #[test]
    fn times_have_a_unit_and_bounds() {
        let waits = |toml: &str| load(toml).unwrap().waits();
        assert_eq!(waits(""), Waits::default());
        assert_eq!(waits("alert_remind = \"15m\"").remind_ms, Some(900_000));
        assert_eq!(waits("rule_call_timeout = \"2h\"").rule_call_ms, 7_200_000);
        for time in
            ["15", "m", "", "0s", "31d", "-1m", "1.5h", "15 m", "99999999999999999999d", "1日"]
        {
            let Failure(lines) = load(&format!("alert_remind = \"{time}\"")).unwrap_err();
            assert_eq!(lines.len(), 1, "{time}: {lines:?}");
            assert!(lines[0].contains("`alert_remind`") && lines[0].contains("15m"), "{lines:?}");
        }
    }

    #[test]
    fn every_error_is_told_at_once() {
        let Failure(lines) = load("htpp = 1\nmqtt = \"here\"\npartitions = 0").unwrap_err();
        assert_eq!(lines.len(), 3, "{lines:#?}");
        for part in ["`htpp`", "`mqtt`", "`partitions`"] {
            assert!(lines.iter().any(|line| line.contains(part)), "{part} in {lines:#?}");
        }
    }
}
