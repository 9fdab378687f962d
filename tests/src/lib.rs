//! What the end-to-end tests and the load generator stand on: a server as a child process, HTTP,
//! and MQTT packets written by hand.
//!
//! Never: a crate of Gnomon. The tests see what a client sees, and share no mistake with it.

pub mod certificate;
pub mod http;
pub mod mosquitto;
pub mod packet;
pub mod passage;
pub mod process;
pub mod random;
pub mod server;
pub mod stack;
pub mod wire;
pub mod worker;
