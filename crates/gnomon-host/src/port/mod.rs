//! Ports: what the driver and the listeners ask of the world.
//!
//! Invariants: every adapter passes the one contract suite in `gnomon-adapters/tests/contract.rs`.

pub mod migrate;
pub mod promise;
pub mod queue;
pub mod sessions;
pub mod store;

pub use migrate::Migrate;
pub use promise::Promise;
pub use queue::{
    Class, Consumer, Counts, Delivery, Keeping, Log, Message, Progress, Queue, QueueError, Stream,
};
pub use sessions::{SavedSession, SessionChange, Sessions};
pub use store::{Committed, Page, Store, StoreError, Stored, Write};
