//! Measures what rules cost per message: `cargo run --release -p gnomon-rules --example evaluate`.
//!
//! Prints microseconds per message, the best of several rounds: for a rule that decides nothing
//! (miss) and one that raises an alert (hit), on a shadow of seven attributes, with one rule, with
//! four of the same product, and with ten thousand of other products.

#![allow(clippy::print_stdout, reason = "this is what it is for")]
#![allow(clippy::expect_used, reason = "its inputs are constants")]

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use gnomon_model::{
    DeviceKey, Envelope, EnvelopeId, Object, ProductKey, Record, ThingModel, Turn, What,
};
use gnomon_rules::{Limits, RuleSet, RuleSource, Wake};
use serde_json::json;

/// Messages of one round, and rounds.
const MESSAGES: u32 = 50;
const ROUNDS: usize = 1500;
const T0: i64 = 1_700_000_000_000;

fn clock() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

fn main() {
    println!("us per message{:>16}{:>10}", "miss", "hit");
    for (name, own, others) in [("1 rule", 1, 0), ("4 rules", 4, 0), ("1 of 10,001", 1, 10_000)] {
        let rules = load(own, others);
        let [miss, hit] = [5.0, 9.5].map(|temperature| measure(&rules, temperature));
        println!("{name:<14}{miss:>16.2}{hit:>10.2}");
    }
}

/// The shipped rule several times, and as many of other products.
fn load(own: usize, others: usize) -> RuleSet {
    let text = include_str!("../../../rules/too_warm.rhai");
    let source = |name: String, text: String| RuleSource { file: format!("{name}.rhai"), text };
    let own = (0..own).map(|n| source(format!("own_{n}"), text.to_owned()));
    let others = (0..others).map(|n| {
        let product = format!("\"other{}\"", n / 4);
        source(format!("other_{n}"), text.replace("\"coldroom\"", &product))
    });
    let (rules, problems) =
        RuleSet::empty(clock, Limits::default()).reload(own.chain(others).collect());
    assert!(problems.is_empty(), "{problems:?}");
    rules
}

/// Microseconds per message that reports this temperature.
fn measure(rules: &RuleSet, temperature: f64) -> f64 {
    let (model, envelope, values) = (model(), envelope(), values(temperature));
    let wake = Wake::Report { values: &values, time_ms: T0 };
    let mut record = Record::default();
    record.shadow.report(&values, T0);
    let round = || {
        let turn = || Turn::new(record.clone(), &envelope, &model);
        let mut turns: Vec<Turn<'_>> = (0..MESSAGES).map(|_| turn()).collect();
        let start = Instant::now();
        for turn in &mut turns {
            assert!(rules.run(turn, &wake) > 0, "no rule ran");
        }
        start.elapsed()
    };
    let best: Duration = (0..ROUNDS).map(|_| round()).min().expect("there are rounds");
    best.as_secs_f64() * 1e6 / f64::from(MESSAGES)
}

fn values(temperature: f64) -> Object {
    let values = json!({
        "temperature": temperature, "humidity": 40.5, "door": false, "compressor": 1,
        "power": 412.5, "setpoint": 4.0, "firmware": "1.4.2-coldroom",
    });
    values.as_object().cloned().expect("it is an object")
}

fn envelope() -> Envelope {
    Envelope {
        id: EnvelopeId::parse("m1").expect("an id"),
        device: DeviceKey::parse("coldroom", "room-1").expect("a key"),
        received_at_ms: T0,
        what: What::Desire { patch: Object::new(), expected_version: None },
    }
}

fn model() -> ThingModel {
    let product = ProductKey::parse("coldroom").expect("a key");
    let text = include_str!("../../../schemas/coldroom/coldroom.json");
    ThingModel::load(&product, &[("coldroom.json".into(), text.into())]).expect("a model")
}
