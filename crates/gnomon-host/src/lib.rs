//! Ports, the driver and the runner: everything that acts on what pure code decided.
//!
//! Never: rhai, a NATS, Redis, Lambda or MQTT client. Adapters implement the ports named here.

pub mod dead;
pub mod downlink;
pub mod driver;
pub mod function;
pub mod migrate;
pub mod port;
pub mod replay;
pub mod runner;
pub mod share;
pub mod stats;
pub mod steps;
pub mod watch;
