//! How the bridge finds its broker, and its limits.

use std::fmt;

use gnomon_run::Settings;
use gnomon_run::ports::Place;

use crate::tls::{Tls, TlsError};

/// Version of MQTT that is spoken with the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1: no properties, and a refused message is not told from a taken one.
    V3,
    /// MQTT 5.
    V5,
}

/// Which way messages cross.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directions {
    /// From devices and to devices.
    Both,
    /// From devices to the queue.
    Uplink,
    /// From the queue to devices. The downlink log has one consumer: of several bridges, one carries it and
    /// the others stand by; no gateway beside them.
    Downlink,
}

/// How device topics are subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subscriptions {
    /// `$share/{group}/{filter}`: the broker gives each message to one of the bridges of a group.
    Shared {
        /// Name of the group, without `/ + #`.
        group: String,
    },
    /// The filters as they stand, for brokers without shared subscriptions: one bridge only.
    Plain,
}

/// User name and password for the broker. Debug shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// User name.
    pub user_name: String,
    /// Password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(..)")
    }
}

/// How the bridge finds its broker, and its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeOptions {
    /// Name under which it reads the downlink log beside gateways and other groups of bridges; none
    /// if it is the log's one consumer.
    pub reader: Option<String>,
    /// Host name or address of the broker.
    pub host: String,
    /// TCP port of the broker.
    pub port: u16,
    /// Begins the two client ids, which end in `-up` and `-down`. One for each bridge, and the same
    /// after every start: the broker keeps what came in between under this name.
    pub client_id: String,
    /// For the broker; none connects anonymously.
    pub login: Option<Login>,
    /// How the broker is known; none speaks plain TCP.
    pub tls: Option<Tls>,
    /// Version of MQTT.
    pub version: Version,
    /// Which way messages cross.
    pub directions: Directions,
    /// How device topics are subscribed to.
    pub subscriptions: Subscriptions,
    /// Largest packet either way, bytes, 1 to 268,435,455. A larger one from a device is not sent
    /// by a broker of MQTT 5, and dropped here with MQTT 3.1.1; a larger one to a device is dropped.
    pub packet_bytes_max: u32,
    /// Most QoS 1 messages on their way in either direction, 1 to 1000: Receive Maximum of MQTT 5.
    /// The broker of an MQTT 3.1.1 session has its own bound.
    pub inflight_max: u16,
    /// How long the broker keeps the messages of devices while the bridge is away, seconds; MQTT
    /// 3.1.1 leaves it to the broker.
    pub session_expiry_s: u32,
    /// Longest silence before a ping, seconds, 5 or more.
    pub keep_alive_s: u16,
    /// Whether a device counts as online once it has spoken since the bridge was started. A broker does
    /// not say who is connected; without this, calls to devices are refused as to offline ones.
    pub spoken_is_online: bool,
}

impl Default for BridgeOptions {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 1883,
            client_id: "gnomon-bridge".into(),
            login: None,
            tls: None,
            version: Version::V5,
            directions: Directions::Both,
            reader: None,
            subscriptions: Subscriptions::Shared { group: "gnomon".into() },
            packet_bytes_max: 1 << 20,
            inflight_max: 100,
            session_expiry_s: 7 * 24 * 3600,
            keep_alive_s: 30,
            spoken_is_online: false,
        }
    }
}

/// Why an address is none. Never holds a part of it, which may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "address of the broker: {0}; write mqtt://[user:password@]host[:port], or mqtts:// for TLS"
)]
pub struct AddressError(&'static str);

/// Why settings do not lead to a broker.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The address is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// There can be no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Certificates without TLS.
    #[error(
        "broker_ca, broker_cert and broker_key are for TLS: write mqtts:// in the address of the broker"
    )]
    Plain,
}

impl BridgeOptions {
    /// Options for the broker at this address, as the other settings say. A device counts as online once
    /// it has spoken.
    ///
    /// # Errors
    /// Each in one line that says which setting to correct.
    pub fn of(address: &str, settings: &Settings) -> Result<Self, SettingsError> {
        let (is_tls, mut options) = Self::at(address)?;
        let group = &settings.broker_group;
        options.client_id =
            settings.broker_client.clone().unwrap_or_else(|| format!("gnomon-bridge-{group}"));
        options.reader =
            matches!(settings.place, Place::Remote { .. }).then(|| format!("bridge-{group}"));
        options.subscriptions = Subscriptions::Shared { group: group.clone() };
        let files = [&settings.broker_ca, &settings.broker_cert, &settings.broker_key];
        let [authority, certificate, key] = files.map(Option::as_deref);
        if is_tls {
            options.tls = Some(Tls::load(authority, certificate, key)?);
        } else if authority.or(certificate).or(key).is_some() {
            return Err(SettingsError::Plain);
        }
        Ok(options)
    }

    /// Options for the broker at `mqtt[s]://[user:password@]host[:port]`, and whether it wants TLS.
    fn at(address: &str) -> Result<(bool, Self), AddressError> {
        let (is_tls, rest) = match address.split_once("://") {
            Some(("mqtt" | "tcp", rest)) => (false, rest),
            Some(("mqtts" | "ssl", rest)) => (true, rest),
            _ => return Err(AddressError("it does not begin with mqtt:// or mqtts://")),
        };
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login.split_once(':').unwrap_or((login, ""))), place),
            None => (None, rest),
        };
        let place = place.trim_end_matches('/');
        let (host, port) = match place.rsplit_once(':') {
            // The last colon of an IPv6 address in brackets is inside of them.
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (place, if is_tls { "8883" } else { "1883" }),
        };
        let login = login.map(|(user_name, password)| Login {
            user_name: user_name.to_owned(),
            password: password.to_owned(),
        });
        let options = Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: port.parse().map_err(|_| AddressError("the port is no number"))?,
            login,
            spoken_is_online: true,
            ..Self::default()
        };
        Ok((is_tls, options))
    }
}

impl BridgeOptions {
    /// What is wrong with them, if anything: sentences without a full stop.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let group_fits = match &self.subscriptions {
            Subscriptions::Shared { group } => {
                !group.is_empty() && !group.contains(['/', '+', '#', '\0'])
            }
            Subscriptions::Plain => true,
        };
        [
            (self.host.is_empty(), "the host is empty"),
            (self.client_id.is_empty(), "the client id is empty, so no session can be found again"),
            (!group_fits, "the group of shared subscriptions is empty or contains / + #"),
            (
                !(1..=PACKET_BYTES_LIMIT).contains(&self.packet_bytes_max),
                "the largest packet is not between 1 and 268435455 bytes",
            ),
            (!(1..=1000).contains(&self.inflight_max), "inflight_max is not between 1 and 1000"),
            // rumqttc asserts it for MQTT 5.
            (self.keep_alive_s < 5, "the keep-alive is below 5 seconds"),
        ]
        .into_iter()
        .find_map(|(is_wrong, what)| is_wrong.then_some(what))
    }
}

/// Largest packet that MQTT can express, bytes (MQTT 5, 1.5.5).
pub(crate) const PACKET_BYTES_LIMIT: u32 = 268_435_455;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_cannot_work_are_told() {
        assert_eq!(BridgeOptions::default().fault(), None);
        let shared = |group: &str| Subscriptions::Shared { group: group.into() };
        for wrong in [
            BridgeOptions { client_id: String::new(), ..BridgeOptions::default() },
            BridgeOptions { subscriptions: shared("a/b"), ..BridgeOptions::default() },
            BridgeOptions { subscriptions: shared(""), ..BridgeOptions::default() },
            BridgeOptions { packet_bytes_max: 0, ..BridgeOptions::default() },
            BridgeOptions { inflight_max: 0, ..BridgeOptions::default() },
            BridgeOptions { keep_alive_s: 1, ..BridgeOptions::default() },
        ] {
            assert!(wrong.fault().is_some(), "{wrong:?}");
        }
    }

    #[test]
    fn an_address_is_taken_apart() {
        let at = |address| BridgeOptions::at(address).unwrap();
        let (is_tls, options) = at("mqtt://me:se:cret@broker.example:1884");
        assert_eq!((is_tls, options.host.as_str(), options.port), (false, "broker.example", 1884));
        assert_eq!(options.login.unwrap().password, "se:cret");
        let (is_tls, options) = at("mqtt://[::1]");
        assert_eq!((is_tls, options.host.as_str(), options.port), (false, "::1", 1883));
        assert_eq!(options.login, None);
        let (is_tls, options) = at("mqtts://broker.example");
        assert_eq!((is_tls, options.port), (true, 8883));
        for wrong in ["broker:1883", "http://broker", "mqtt://broker:secret"] {
            let error = BridgeOptions::at(wrong).unwrap_err().to_string();
            assert!(error.contains("mqtt://") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_login_is_not_shown() {
        let login = Login { user_name: "u".into(), password: "secret".into() };
        let options = BridgeOptions { login: Some(login), ..BridgeOptions::default() };
        assert!(!format!("{options:?}").contains("secret"));
    }
}
