//! Limits of the gateway, and why it does not serve.

use std::net::SocketAddr;

/// Limits of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayOptions {
    /// Largest MQTT packet from a client, bytes (`wire/alibaba.md` 2.5).
    pub packet_bytes_max: u32,
    /// Most QoS 1 publishes of one connection that wait for the queue: Receive Maximum of MQTT 5.
    pub pending_publishes_max: u16,
    /// Most QoS 1 messages sent to one client and not acknowledged, if it does not ask for fewer.
    pub inflight_max: u16,
    /// Most connections at a time; further ones are refused.
    pub connections_max: usize,
    /// How long a new connection may take for its CONNECT, milliseconds.
    pub connect_timeout_ms: u64,
    /// Most messages that wait for a client that is not connected; the oldest goes first.
    pub offline_messages_max: usize,
    /// Most messages that wait for a client that is connected and slow; further ones are dropped.
    pub online_messages_max: usize,
    /// Most bytes of messages that wait for one client, connected or not; beyond it the same is
    /// dropped as beyond the count. One message always fits.
    pub waiting_bytes_max: usize,
    /// Messages that wait for a connected client with a persistent session, from which on they are
    /// written to disk and no longer hold up the downlink log.
    pub lagging_messages: usize,
    /// Most subscriptions of one client.
    pub subscriptions_max: usize,
    /// Longest session expiry that a client may ask for, seconds.
    pub session_expiry_s_max: u32,
    /// Most clients whose last publishes are remembered, to recognise what they send again.
    pub retransmitters_max: usize,
    /// Whether other gateways serve the same devices, on the same queue and store.
    pub has_peers: bool,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            packet_bytes_max: 262_144,
            pending_publishes_max: 100,
            inflight_max: 100,
            connections_max: 10_000,
            connect_timeout_ms: 10_000,
            offline_messages_max: 10_000,
            online_messages_max: 100_000,
            waiting_bytes_max: 64 * 1024 * 1024,
            lagging_messages: 4096,
            subscriptions_max: 100,
            session_expiry_s_max: 7 * 24 * 3600,
            retransmitters_max: 100_000,
            has_peers: false,
        }
    }
}

/// Why the gateway does not serve.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Not a loopback address: without passwords only this machine may connect.
    #[error(
        "{address} is not a loopback address: in development mode devices connect without \
         passwords, so only 127.0.0.0/8 and ::1 are served"
    )]
    NotLoopback {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The port is taken, or the address is not of this machine.
    #[error("listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Saved sessions could not be read.
    #[error("load saved sessions")]
    LoadSessions(#[source] gnomon_host::port::StoreError),
}
