//! One stateless function: everything in it is synchronous and pure.

use gnomon_model::{Envelope, Outcome, Record};

use crate::port::Stream;

/// Decides what one envelope does to one record. Equal arguments give equal outcomes, byte for
/// byte: no clock, no randomness, no IO.
pub trait Function: Send + Sync {
    /// Name of the function: key of its ledger in the record, label of its metrics.
    const NAME: &'static str;
    /// The stream that it consumes.
    const STREAM: Stream;

    /// Applies the envelope to the record, or refuses it.
    fn step(&self, record: Record, envelope: &Envelope) -> Outcome;
}
