//! What a person does to a deployment: look at its books, drop dead letters, back up and restore,
//! rebuild the store from the queue, migrate. On the embedded store, and on real NATS and Redis.

mod backup;
mod dead;
mod migrate;
mod rebuild;
mod stats;
mod world;
