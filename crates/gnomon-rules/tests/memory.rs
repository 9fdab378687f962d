//! Memory that a rule can take at most. In a process of its own, since it reads the process's peak.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use support::{failure, limits, report, rule, warm};

/// Most that one evaluation may add to the process, bytes.
const GROWTH_MAX: u64 = 32 * 1024 * 1024;

fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// `map[key] = value` escapes Rhai's map limit, and no limit of Rhai sees the keys of a map: each of
/// these copies the largest value that the other limits allow with every operation or two.
#[test]
fn memory_bombs_stay_small() {
    for bomb in [
        "let m = #{}; let i = 0; loop { m[`k${i}`] = i; i += 1; }",
        "let s = \"x\"; s.pad(4000, 'x'); let m = #{}; let i = 0; loop { m[s + i] = s; i += 1; }",
        "let s = \"x\"; s.pad(4000, 'x'); let m = #{}; let i = 0; loop { m[`k${i}`] = s + i; i += 1; }",
        "let a = []; a.pad(250, 1); let m = #{}; let i = 0; loop { m[`k${i}`] = a; i += 1; }",
        "let m = #{}; for i in 0..200 { m[`k${i}`] = i; } let n = #{}; let i = 0; loop { n[`k${i}`] = m; i += 1; }",
        // Doubling in `this` and in a variable, without a function that would look at the size.
        "this.state.n = 0; loop { this.state[`k${this.state.n}`] = this.state; this.state.n += 1; }",
        "loop { this.state.a = this.state; this.state.b = this.state; }",
        "let m = #{}; loop { m.a = m; m.b = m; }",
        "let s = \"x\"; s.pad(4000, 'x'); let m = #{}; for i in 0..250 { m[s + i] = i; } let n = #{}; let i = 0; loop { n[`k${i}`] = m; i += 1; }",
        "let s = \"x\"; s.pad(4000, 'x'); let m = #{}; for i in 0..250 { m[s + i] = i; } let a = []; a.pad(250, m);",
        "let s = \"x\"; s.pad(4000, 'x'); let n = 0; loop { this.state[s + n] = n; n += 1; f(this.state, this.state); } } fn f(a, b) { a",
        "let m = #{}; m.pad = \"\"; let s = \"x\"; s.pad(4000, 'x'); for i in 0..7 { m[s + i] = i; } f(m, f(m, f(m, f(m, f(m, m))))); throw; } fn f(a, b) { a",
        "let s = \"x\"; s.pad(4000, 'x'); s.replace(\"x\", s);",
        "let s = \"x\"; s.pad(4000, 'x'); let m = #{}; for i in 0..250 { m[s + i] = i; } publish(\"t\", m); respond(m);",
        "let s = \"x\"; s.pad(4000, 'x'); let m = #{}; for i in 0..250 { m[s + i] = i; } this.state = m;",
    ] {
        let rules = rule(bomb, limits(true));
        report(&rule("let x = 1;", limits(true)), Default::default(), &warm());
        let before = peak_bytes();
        failure(&report(&rules, Default::default(), &warm()));
        let growth = peak_bytes() - before;
        assert!(growth < GROWTH_MAX, "{bomb}: {} KiB", growth / 1024);
    }
}
