//! Queues and stores: in memory, embedded, NATS, Redis, and one that fails on purpose.
//!
//! Invariants: every queue and store here passes the one suite in `tests/contract.rs`.
//! Never: a rule, a dialect, a function.

pub mod bounds;
mod due;
pub mod embedded;
pub mod faulty;
mod held;
mod log;
mod logs;
pub mod memory;
pub mod nats;
pub mod redis;

pub use bounds::{LogBounds, QueueBounds, Retention};
pub use embedded::{Embedded, EmbeddedOptions, OpenError};
pub use faulty::{Fault, Faulty, Odds, Operation, Plan};
pub use memory::Memory;
pub use nats::{Nats, NatsOptions};
pub use redis::{Redis, RedisOptions};
