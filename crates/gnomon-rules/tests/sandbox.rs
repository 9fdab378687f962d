//! Attacks on the sandbox, each measured once on Rhai itself: every one is cut off in time, with
//! file and line, and the message that it ran on is applied.
//! See: `reference/components.md` F, `wire/standards.md` 8.3

mod support;

use std::time::{Duration, Instant};

use support::{failure, limits, load, report, rule, warm};

/// A cut-off takes the deadline, and what the machine adds under load.
const CUT_OFF_MAX: Duration = Duration::from_millis(500);

/// Attack, part of the failure's message.
const ATTACKS: &[(&str, &str)] = &[
    ("loop { }", "operations"),
    ("let n = 0; while true { n += 1; }", "operations"),
    ("let s = \"x\"; loop { s += s; }", "string"),
    ("let a = [1]; loop { a.push(a); }", "array"),
    ("let a = []; loop { a.push(1); }", "array"),
    ("let a = [0]; loop { a += a; }", "array"),
    ("let s = \"\"; s.pad(1000000, 'x');", "string"),
    ("let a = []; a.pad(1000000, 0);", "array"),
    ("let s = \"x\"; s.pad(4000, 'x'); s.replace(\"x\", s);", "string"),
    ("let n = 0; for i in 0..10000000 { n += i; }", "operations"),
    ("let m = #{}; let i = 0; loop { m[`k${i}`] = i; i += 1; }", "bytes"),
    ("let x = 9223372036854775807; x += 1;", "overflow"),
    ("let x = 1 / 0;", "zero"),
    ("this.state.x = 0.0 / 0.0;", "NaN"),
    ("this.state.x = 1.0 / 0.0;", "inf"),
    ("this.state.f = |x| x + 1;", "cannot be kept"),
    ("this.state = 7;", "state"),
    ("let s = \"x\"; s.pad(4000, 'x'); this.state.a = s; this.state.b = s;", "too large"),
    ("for i in 0..100 { log(\"x\"); }", "actions"),
    ("alert(\"a b\", \"major\", \"m\");", "alert name"),
    ("alert(\"a\", \"terrible\", \"m\");", "severity"),
    ("let s = \"x\"; s.pad(2000, 'x'); alert(\"a\", \"major\", s);", "bytes"),
    ("desire(#{ setpoint: 0.0 / 0.0 });", "NaN"),
    ("publish(\"#\", \"x\");", "topic"),
    ("publish(\"$SYS/x\", \"x\");", "topic"),
    ("throw \"mine\";", "mine"),
];

#[test]
fn attacks_are_cut_off_and_the_message_is_applied() {
    for optimise in [true, false] {
        for (attack, reason) in ATTACKS {
            let rules = rule(attack, limits(optimise));
            let start = Instant::now();
            let outcome = report(&rules, Default::default(), &warm());
            assert!(start.elapsed() < CUT_OFF_MAX, "{attack}: {:?}", start.elapsed());
            let (at, message) = failure(&outcome);
            // On a busy machine the deadline may come before the last operation.
            let late = *reason == "operations" && message.contains("ran longer than");
            let expected = message.to_lowercase().contains(&reason.to_lowercase());
            assert!(expected || late, "{attack}: {message}");
            assert!(at.starts_with("r.rhai:"), "{attack}: {at}");
            assert_eq!(outcome.record.shadow.reported["temperature"], 9.5, "{attack}");
            assert!(outcome.outgoing.is_empty() && outcome.record.rules.is_empty(), "{attack}");
        }
    }
}

#[test]
fn recursion_is_cut_off() {
    let text =
        "const PRODUCT = \"coldroom\";\nfn on_report(r) { deeper(r) }\nfn deeper(r) { deeper(r) }";
    let (rules, problems) = load(&[("r", text)], limits(true));
    assert!(problems.is_empty(), "{problems:?}");
    let (at, message) = failure(&report(&rules, Default::default(), &warm()));
    assert!(message.contains("Stack overflow"), "{message}");
    assert_eq!(at, "r.rhai:2", "where it is unknown, the function that was woken");
}

/// Operations are not of constant time: these stay within the operation limit for seconds if that
/// is raised, and only the deadline ends them.
#[test]
fn slow_operations_are_ended_by_the_deadline() {
    let wide = gnomon_rules::Limits {
        operations_max: 100_000_000,
        string_bytes_max: 65_536,
        array_items_max: 2000,
        value_bytes_max: 1_048_576,
        ..limits(true)
    };
    for slow in [
        "let s = \"x\"; s.pad(60000, 'x'); for i in 0..300000 { s.contains(\"y\"); }",
        "let a = []; for i in 0..1000 { a.push((i * 7919) % 1000); } for i in 0..200000 { let b = a; b.sort(); }",
        "let n = 0; loop { n += 1; if n > 1000 { n = 0; } }",
    ] {
        let rules = rule(slow, wide.clone());
        let start = Instant::now();
        let (_, message) = failure(&report(&rules, Default::default(), &warm()));
        assert!(message.contains("longer than 50 ms"), "{slow}: {message}");
        assert!(start.elapsed() < CUT_OFF_MAX, "{slow}: {:?}", start.elapsed());
    }
}

#[test]
fn what_must_not_be_there_is_refused_when_the_rule_is_loaded() {
    let nested = format!("let x = {}1{};", "(".repeat(5000), ")".repeat(5000));
    let flood: String = (0..900).map(|n| format!("let f{n} = |x| x + {n};\n")).collect();
    for (body, reason) in [
        ("eval(\"1\");", "eval"),
        ("import \"x\" as x;", "import"),
        ("print(\"x\");", "print"),
        ("debug(\"x\");", "debug"),
        ("sleep(3);", "no function `sleep`"),
        ("timestamp();", "no function `timestamp`"),
        ("alret(\"a\", \"major\", \"m\");", "did you mean `alert`"),
        ("let x = undefined_name;", "undefined_name"),
        (nested.as_str(), "complex"),
        (flood.as_str(), "functions"),
    ] {
        let text = format!("const PRODUCT = \"coldroom\";\nfn on_report(report) {{\n{body}\n}}\n");
        let start = Instant::now();
        let (rules, problems) = load(&[("r", &text)], limits(true));
        assert!(start.elapsed() < CUT_OFF_MAX, "{body:.30}");
        assert!(rules.listing().is_empty(), "{body:.30}");
        let told = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(told.contains(reason), "{body:.30}: {told}");
        assert!(told.starts_with("r.rhai"), "{told}");
    }
}

#[test]
fn arithmetic_at_the_edge_does_not_panic() {
    for body in
        ["let x = 1 << 1000;", "let a = [3, 1, 2]; a.sort(|x, y| 1);", "let x = [1, 2]; x.dedup();"]
    {
        let outcome = report(&rule(body, limits(true)), Default::default(), &warm());
        assert_eq!(outcome.record.shadow.version, 1, "{body}");
    }
}

#[test]
fn a_failing_rule_affects_only_itself() {
    let good = "const PRODUCT = \"coldroom\";\nfn on_report(r) { this.state.n = 1; alert(\"a\", \"info\", \"m\"); }";
    let bad = "const PRODUCT = \"coldroom\";\nfn on_report(r) { this.state.n = 1; alert(\"a\", \"info\", \"m\"); let x = 1 / 0; }";
    let (rules, problems) = load(&[("a_bad", bad), ("b_good", good)], limits(true));
    assert!(problems.is_empty(), "{problems:?}");
    let outcome = report(&rules, Default::default(), &warm());
    assert_eq!(failure(&outcome).0, "a_bad.rhai:2");
    assert_eq!(outcome.record.rules.keys().collect::<Vec<_>>(), ["b_good"]);
    assert_eq!(outcome.record.alerts.keys().collect::<Vec<_>>(), ["b_good/a"]);
}
