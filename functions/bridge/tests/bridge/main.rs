//! The bridge between a real Mosquitto, or a broker that plays a part, and a queue in memory.

#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod downlink;
mod played;
mod restart;
mod tls;
mod turns;
mod uplink;
mod world;
