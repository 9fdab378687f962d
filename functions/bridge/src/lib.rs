//! Devices on any MQTT broker: their publishes to the queue, the downlink to the broker.
//!
//! `uplink` and `downlink` each own a connection (`client`); `append` and `feed` are their sides of
//! the queue. Of several bridges, one has the downlink at a time (`turn`). See: docs/bridge.md

mod append;
mod client;
mod downlink;
mod feed;
mod options;
mod pace;
mod recall;
mod taken;
mod tls;
mod turn;
mod uplink;
mod window;

use gnomon_host::port::Queue;
use tokio_util::sync::CancellationToken;

pub use crate::options::{
    AddressError, BridgeOptions, Directions, Login, SettingsError, Subscriptions, Version,
};
pub use crate::tls::{Tls, TlsError};
pub use crate::turn::LINE;

/// Why the bridge does not carry on. A broker that is away or refuses is no reason: it is tried
/// again, and the log says so.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// The options cannot work; correct them.
    #[error("options of the bridge: {fault}")]
    Options {
        /// What is wrong.
        fault: &'static str,
    },
    /// The queue was shut down, or, for the downlink, something that is no bridge, such as a gateway,
    /// has taken its log over.
    #[error("the queue is closed to the {what}")]
    QueueClosed {
        /// Which direction.
        what: &'static str,
    },
}

/// Carries messages both ways, as the options say, until `stop` is cancelled: then it ends what is
/// on its way, for a few seconds at most, and says goodbye to the broker, which keeps the messages
/// of devices from then on. Connects again by itself.
///
/// # Errors
/// The options are wrong, or the queue is closed; the other direction is stopped then too.
pub async fn run<Q: Queue>(
    options: BridgeOptions,
    queue: Q,
    stop: CancellationToken,
) -> Result<(), BridgeError> {
    if let Some(fault) = options.fault() {
        return Err(BridgeError::Options { fault });
    }
    let (up, down) = match options.directions {
        Directions::Both => (true, true),
        Directions::Uplink => (true, false),
        Directions::Downlink => (false, true),
    };
    let own = stop.child_token();
    let uplink = async {
        let result =
            if up { uplink::run(&options, queue.clone(), own.clone()).await } else { Ok(()) };
        stop_on_error(result, &own)
    };
    let downlink = async {
        let result =
            if down { downlink::run(&options, queue.clone(), own.clone()).await } else { Ok(()) };
        stop_on_error(result, &own)
    };
    let (uplink, downlink) = tokio::join!(Box::pin(uplink), Box::pin(downlink));
    uplink.and(downlink)
}

fn stop_on_error(
    result: Result<(), BridgeError>,
    stop: &CancellationToken,
) -> Result<(), BridgeError> {
    if result.is_err() {
        stop.cancel();
    }
    result
}
