//! A seeded simulation: the shipped function, rules and driver in a world in which everything that
//! the ports allow goes wrong, and a judge that knows nothing of how they work.
//!
//! A seed decides everything: what devices say, who is polled when, what fails and who crashes.
//! There is no clock, no thread and no other chance. See: docs/guarantees.md
//!
//! `GNOMON_SEEDS=1000..50000` lives other seeds than the ordinary ones, `GNOMON_SEEDS=17..18` one.

#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod broken;
mod calm;
mod model;
mod oracle;
mod random;
mod rig;
mod run;
mod script;
mod taken_over;

use std::ops::Range;
use std::sync::Arc;

use gnomon_model::{Models, ProductKey, ThingModel, Waits};
use gnomon_rules::{Limits, RuleSet, RuleSource};
use gnomon_telemetry::Telemetry;

use crate::rig::Broken;
use crate::run::live;

/// Seeds that once found something.
const ONCE_FAILED: [u64; 1] = [
    // A worker that came back to a partition settled the end of a connection by an old record.
    1338,
];
/// Seeds of the ordinary test.
const ORDINARY: Range<u64> = 0..1000;
/// Name of the variable that says which others.
const SEEDS_VARIABLE: &str = "GNOMON_SEEDS";

/// The shipped function with the shipped models and rules.
fn telemetry() -> Telemetry {
    let models = [
        ("coldroom", include_str!("../../../../schemas/coldroom/coldroom.json")),
        ("machine", include_str!("../../../../schemas/machine/machine.json")),
    ];
    let load = |(product, text): (&str, &str)| {
        let product = ProductKey::parse(product).unwrap();
        let model = ThingModel::load(&product, &[("model.json".into(), text.into())]).unwrap();
        (product, Arc::new(model))
    };
    let rules = [
        ("compressor_fault.rhai", include_str!("../../../../rules/compressor_fault.rhai")),
        ("limits.rhai", include_str!("../../../../rules/limits.rhai")),
        ("overheated.rhai", include_str!("../../../../rules/overheated.rhai")),
        ("stopped.rhai", include_str!("../../../../rules/stopped.rhai")),
        ("too_warm.rhai", include_str!("../../../../rules/too_warm.rhai")),
    ];
    let sources = rules.map(|(file, text)| RuleSource { file: file.into(), text: text.into() });
    let (rules, problems) = RuleSet::empty(|| 0, Limits::default()).reload(sources.into());
    assert!(problems.is_empty(), "{problems:?}");
    Telemetry {
        models: Arc::new(models.map(load).into_iter().collect::<Models>()),
        rules,
        waits: Waits::default(),
    }
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var(SEEDS_VARIABLE) else { return ORDINARY };
    let (from, to) = text.split_once("..").expect("GNOMON_SEEDS is from..to");
    from.parse().expect("a decimal number")..to.parse().expect("a decimal number")
}

/// Lives a seed; on failure once more, to print its schedule.
fn check(telemetry: &Telemetry, seed: u64) {
    let Err(wrong) = live(telemetry, seed, Broken::Nothing, &mut None) else { return };
    let mut trace = Some(Vec::new());
    let again = live(telemetry, seed, Broken::Nothing, &mut trace);
    let schedule = trace.unwrap_or_default().join("\n");
    panic!("schedule of seed {seed}:\n{schedule}\nseed {seed}: {wrong}\nand again: {again:?}");
}

#[test]
fn seeds_that_once_failed_come_out_right() {
    let telemetry = telemetry();
    ONCE_FAILED.iter().for_each(|seed| check(&telemetry, *seed));
}

#[test]
fn whatever_goes_wrong_everything_is_applied_once_or_dead() {
    let telemetry = telemetry();
    seeds().for_each(|seed| check(&telemetry, seed));
}

#[test]
fn a_seed_decides_everything() {
    let telemetry = telemetry();
    for seed in 0..10 {
        let schedule = || {
            let mut trace = Some(Vec::new());
            live(&telemetry, seed, Broken::Nothing, &mut trace).unwrap();
            trace
        };
        assert!(schedule() == schedule(), "seed {seed}");
    }
}

#[test]
fn whatever_can_go_wrong_does() {
    let telemetry = telemetry();
    let mut all = Vec::new();
    for seed in 0..20 {
        let mut trace = Some(Vec::new());
        live(&telemetry, seed, Broken::Nothing, &mut trace).unwrap();
        all.extend(trace.unwrap_or_default());
    }
    for (line, part) in [
        ("append torn telemetry", "a gateway's append done in part"),
        ("append torn downlink", "effects sent in part"),
        ("commit torn", "records written in part"),
        ("Conflict", "a record that another worker wrote first"),
        ("again", "messages delivered again"),
        (" faults", "a call that fails before or after it took effect"),
        ("give up", "a device that gives up"),
        ("crash gateway", "a gateway that crashes"),
        ("crash worker", "a worker that crashes"),
        ("stop worker", "a worker that is asked to stop"),
    ] {
        let met = all.iter().filter(|one| one.contains(line)).count();
        println!("{met:6} {part}");
        assert!(met > 0, "never met: {part}");
    }
}
