//! Queues and stores: in memory, embedded, and one that fails on purpose.
