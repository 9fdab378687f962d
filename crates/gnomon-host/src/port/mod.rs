//! Ports: what the driver and the listeners ask of the world.
//!
//! Invariants: every adapter passes the one contract suite in `gnomon-adapters/tests/contract.rs`.

pub mod log;
pub mod migrate;
pub mod promise;
pub mod queue;
pub mod sessions;
pub mod store;

pub use log::{Class, Log, Stream};
pub use migrate::Migrate;
pub use promise::Promise;
pub use queue::{Consumer, Counts, Delivery, Keeping, Message, Progress, Queue, QueueError};
pub use sessions::{SavedSession, SessionChange, Sessions};
pub use store::{Committed, Page, Store, StoreError, Stored, Write};
