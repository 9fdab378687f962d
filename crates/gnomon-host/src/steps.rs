//! The steps of one device in one batch: pure, between load and commit.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use gnomon_model::{Destination, DueTimes, Envelope, Note, Outcome, Outgoing, Reject, RejectKind};

use crate::dead::DeadLetter;
use crate::driver::Verdict;
use crate::function::Function;
use crate::port::{Log, Stored};

/// Where a batch comes from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The log.
    pub log: Log,
    /// Its identity, see [`crate::port::Consumer::log_id`].
    pub log_id: String,
}

impl Source {
    /// Names a position, for people: `telemetry/3@x7f2/118`.
    #[must_use]
    pub fn position(&self, position: u64) -> String {
        format!("{}/{position}", self.log_id)
    }
}

/// One envelope of a batch.
#[derive(Debug, Clone)]
pub struct Input {
    /// Position in the log.
    pub position: u64,
    /// The envelope.
    pub envelope: Envelope,
}

/// What the inputs of one device led to.
#[derive(Debug, Default)]
pub struct Stepped {
    /// The record after the steps, at the revision at which it was loaded.
    pub stored: Stored,
    /// What was due when in the record as it was loaded.
    pub due_before: DueTimes,
    /// Whether it must be committed.
    pub changed: bool,
    /// What goes out once it is committed, in order.
    pub outgoing: Vec<Outgoing>,
    /// What people should see.
    pub notes: Vec<Note>,
    /// One per input.
    pub verdicts: Vec<Verdict>,
}

/// Steps the inputs in order over one record. Inputs that the record's ledger knows as applied are
/// not stepped again: their effects are sent again. Inputs in `poison` are refused.
///
/// # Errors
/// The position of an input on which the step panicked; the record is lost.
pub fn step_device<F: Function>(
    function: &F,
    source: &Source,
    inputs: &[Input],
    mut stored: Stored,
    poison: &BTreeSet<u64>,
) -> Result<Stepped, u64> {
    let oldest = inputs.first().map_or(0, |input| input.position);
    ledger::<F>(&mut stored).settle(&source.log_id, oldest);
    let due_before = stored.record.due_times();
    let mut stepped = Stepped { stored, due_before, ..Stepped::default() };
    // Inputs that change nothing leave no trace in the record, unless a later one changes it: then
    // the ledger moves past them, and must remember what they have to say.
    let mut traceless: Vec<(u64, Vec<Outgoing>)> = Vec::new();
    for input in inputs {
        if let Some(unsent) = stepped.unsent::<F>(source, input) {
            stepped.outgoing.extend(unsent);
            stepped.verdicts.push(Verdict::Ack);
            continue;
        }
        let record = std::mem::take(&mut stepped.stored.record);
        let outcome = if poison.contains(&input.position) {
            let reason = "Gnomon failed on this message; this is a defect of Gnomon";
            let reject = Reject::new(RejectKind::Internal, reason);
            Outcome::refused(record, &input.envelope.id, reject, [])
        } else {
            catch_unwind(AssertUnwindSafe(|| function.step(record, &input.envelope)))
                .map_err(|_| input.position)?
        };
        stepped.take::<F>(source, input, outcome, &mut traceless);
    }
    Ok(stepped)
}

impl Stepped {
    /// Declares all inputs dead for one reason, without touching any record.
    #[must_use]
    pub fn all_dead<F: Function>(source: &Source, inputs: &[Input], reject: &Reject) -> Self {
        Self {
            outgoing: inputs.iter().map(|input| dead_letter::<F>(source, input, reject)).collect(),
            verdicts: vec![Verdict::Dead(reject.clone()); inputs.len()],
            ..Self::default()
        }
    }

    fn unsent<F: Function>(&mut self, source: &Source, input: &Input) -> Option<Vec<Outgoing>> {
        let ledger = ledger::<F>(&mut self.stored);
        ledger
            .has_applied(&source.log_id, input.position)
            .then(|| ledger.unsent(input.position).cloned().collect())
    }

    fn take<F: Function>(
        &mut self,
        source: &Source,
        input: &Input,
        outcome: Outcome,
        traceless: &mut Vec<(u64, Vec<Outgoing>)>,
    ) {
        let Outcome { record, changed, mut outgoing, notes, refused } = outcome;
        self.stored.record = record;
        self.notes.extend(notes);
        if let Some(reject) = refused {
            outgoing.push(dead_letter::<F>(source, input, &reject));
            self.verdicts.push(Verdict::Dead(reject));
        } else {
            self.verdicts.push(Verdict::Ack);
        }
        if changed {
            let ledger = ledger::<F>(&mut self.stored);
            for (position, told) in traceless.drain(..) {
                ledger.apply(position, &told);
            }
            ledger.apply(input.position, &outgoing);
            self.changed = true;
        } else {
            traceless.push((input.position, outgoing.clone()));
        }
        self.outgoing.extend(outgoing);
    }
}

fn ledger<F: Function>(stored: &mut Stored) -> &mut gnomon_model::Ledger {
    stored.record.ledgers.entry(F::NAME.to_owned()).or_default()
}

fn dead_letter<F: Function>(source: &Source, input: &Input, reject: &Reject) -> Outgoing {
    let origin = source.position(input.position);
    let letter = DeadLetter::new(&input.envelope, reject, F::NAME, &origin);
    let id = format!("{}.dead", input.envelope.id);
    Outgoing { id, to: Destination::Dead, payload: letter.encode() }
}
