//! Runs functions as processes: one set of settings for all of them, thing models and rules with hot
//! reload, the queue and the store that the settings name, workers, signals.
//!
//! A function's own program is one sentence: it names the function and calls [`function`]. The
//! command line `gnomon run` uses the same parts to run all functions in one process.
//!
//! Never: what a function decides.

mod failure;
mod gauges;
pub mod library;
mod logging;
mod part;
pub mod ports;
mod process;
mod settings;
mod shelf;

pub use failure::Failure;
pub use gauges::measure;
pub use logging::start as start_logging;
pub use part::Part;
pub use process::{AnyError, Program, function, on_ports, on_queue, report, stop_signal, unique};
pub use settings::{Flags, Settings};
pub use shelf::Shelf;
