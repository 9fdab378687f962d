//! What a person does to a deployment: look at its books, drop dead letters and readers, back up and restore,
//! rebuild the store from the queue, migrate. On the embedded store, and on real NATS and Redis.

mod backup;
mod dead;
mod migrate;
mod readers;
mod rebuild;
mod stats;
mod world;
