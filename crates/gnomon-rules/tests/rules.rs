//! What rules see, decide and keep; what is told about those that cannot be loaded.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use gnomon_model::{Note, Record, Turn};
use gnomon_rules::Wake;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{T0, envelope, limits, load, model, reload, report, rule, warm};

fn logs(outcome: &gnomon_model::Outcome) -> Vec<String> {
    let text = |note: &Note| match note {
        Note::Log { text, .. } => Some(text.clone()),
        _ => None,
    };
    outcome.notes.iter().filter_map(text).collect()
}

#[test]
fn a_rule_sees_the_device_and_what_woke_it() {
    for (expression, expected) in [
        ("this.product", "coldroom"),
        ("this.name", "room-1"),
        ("this.online", "false"),
        ("this.reported.temperature", "9.5"),
        ("report.values.humidity", "40.0"),
        ("report.time", "1700000000000"),
        ("this.reported.missing ?? \"none\"", "none"),
        ("type_of(this.reported.door) + report.values.humidity", "()40.0"),
        ("this.alerts.len()", "0"),
        ("this.keys().len()", "7"),
        ("report.keys()", "[\"time\", \"values\"]"),
        ("this.reported.len() + this.reported.temperature", "11.5"),
        ("this.reported[this.reported.keys()[0]]", "40.0"),
        ("{ let all = this; all.reported.temperature }", "9.5"),
        ("{ let all = report; all.values.len() }", "2"),
        ("this.state.len()", "0"),
    ] {
        for optimise in [true, false] {
            let rules = rule(&format!("log(`${{{expression}}}`);"), limits(optimise));
            assert_eq!(
                logs(&report(&rules, Record::default(), &warm())),
                [expected],
                "{expression}"
            );
        }
    }
}

#[test]
fn state_is_kept_from_one_evaluation_to_the_next() {
    for optimise in [true, false] {
        let rules = rule(
            "this.state.count = (this.state.count ?? 0) + 1; log(`${this.state.count}`);",
            limits(optimise),
        );
        let first = report(&rules, Record::default(), &warm());
        let second = report(&rules, first.record, &warm());
        assert_eq!(logs(&second), ["2"]);
        assert_eq!(second.record.rules["r"]["count"], json!(2));
    }
}

#[test]
fn an_alert_holds_the_values_that_its_rule_reads() {
    for optimise in [true, false] {
        let rules = rule(
            "if report.values.temperature > 8 { alert(\"a\", \"major\", \"m\"); }",
            limits(optimise),
        );
        let outcome = report(&rules, Record::default(), &warm());
        let values = Value::Object(outcome.record.alerts["r/a"].values.clone());
        assert_eq!(values, json!({ "temperature": 9.5 }));
    }
}

#[test]
fn a_report_wakes_only_rules_that_read_something_of_it() {
    for optimise in [true, false] {
        for (body, runs) in [
            ("let x = this.reported.temperature;", 1),
            ("let x = report.values[\"temperature\"];", 1),
            ("let x = report.values.door;", 0),
            ("let x = 1;", 1),
            ("let name = \"door\"; let x = report.values[name];", 1),
            ("let x = report.values.keys(); let y = this.reported.door;", 1),
            ("let all = this.reported; let x = all.door;", 1),
        ] {
            let (model, envelope) = (model(), envelope("m1"));
            let mut turn = Turn::new(Record::default(), &envelope, &model);
            let values = warm().as_object().unwrap().clone();
            let ran = rule(body, limits(optimise))
                .run(&mut turn, &Wake::Report { values: &values, time_ms: T0 });
            assert_eq!(ran, runs, "{body}");
        }
    }
}

#[test]
fn a_rule_applies_to_its_product_and_pattern_only() {
    for optimise in [true, false] {
        for (head, applies) in [
            ("const PRODUCT = \"coldroom\";", true),
            ("const PRODUCT = \"machine\";", false),
            ("const PRODUCT = \"coldroom\"; const DEVICE = \"room-*\";", true),
            ("const PRODUCT = \"coldroom\"; const DEVICE = \"lab-?\";", false),
        ] {
            let text = format!("{head}\nfn on_report(r) {{ log(\"x\"); }}");
            let (rules, problems) = load(&[("r", &text)], limits(optimise));
            assert!(problems.is_empty(), "{problems:?}");
            assert_eq!(
                logs(&report(&rules, Record::default(), &warm())).len(),
                usize::from(applies),
                "{head}"
            );
        }
    }
}

#[test]
fn an_action_that_the_model_refuses_is_told_and_the_others_stand() {
    for optimise in [true, false] {
        let body =
            "desire(#{ temperature: 3.0 }); desire(#{ setpoint: 4.0 }); call_service(\"melt\");";
        let outcome = report(&rule(body, limits(optimise)), Record::default(), &warm());
        let refused =
            outcome.notes.iter().filter(|note| matches!(note, Note::ActionRefused { .. }));
        assert_eq!(refused.count(), 2);
        assert_eq!(outcome.record.shadow.desired["setpoint"], json!(4.0));
    }
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_place() {
    for optimise in [true, false] {
        for (text, expected) in [
            ("fn on_report(r) { }", "r.rhai: the rule does not say what it applies to"),
            ("const PRODUCT = \"a b\";\nfn on_report(r) { }", "not a product key"),
            ("const PRODUCT = 7;\nfn on_report(r) { }", "does not say what it applies to"),
            ("const PRODUCT = \"c\"; const DEVICE = 7;\nfn on_report(r) { }", "DEVICE is a"),
            ("const PRODUCT = \"c\";", "nothing wakes this rule"),
            (
                "const PRODUCT = \"c\";\nfn on_reprt(r) { }",
                "r.rhai:2:16: nothing wakes `on_reprt`: did you mean `on_report`?",
            ),
            (
                "const PRODUCT = \"c\";\nfn on_report() { }",
                "r.rhai:2:16: `on_report` has 0 parameters, one is given",
            ),
            (
                "const PRODUCT = \"c\";\nlet x = 1;\nfn on_report(r) { }",
                "r.rhai:2:1: only `const` and `fn`",
            ),
            ("const PRODUCT = \"c\";\nfn on_report(r) { if }", "r.rhai:2:"),
            (
                "const PRODUCT = \"c\";\nfn on_report(r) { foo(); }",
                "r.rhai:2:19: there is no function `foo`",
            ),
            ("const PRODUCT = \"c\";\nconst X = 1 / 0;\nfn on_report(r) { }", "r.rhai:2:"),
            (
                "const PRODUCT = \"c\";\nconst X = f();\nfn f() { loop { } }\nfn on_report(r) { }",
                "did more than 20000 operations",
            ),
            (
                "const PRODUCT = \"c\";\nconst X = f();\nfn f() { clear(\"x\"); 1 }\nfn on_report(r) { }",
                "a constant calls an action",
            ),
            (
                "const PRODUCT = \"c\";\nfn log(x) { }\nfn on_report(r) { }",
                "`log` is an action: give the function another name",
            ),
        ] {
            let (rules, problems) = load(&[("r", text)], limits(optimise));
            assert!(rules.listing().is_empty(), "{text}");
            let told = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            assert!(told.contains(expected), "{text}\n{told}");
        }
    }
}

#[test]
fn what_would_do_nothing_or_fail_later_is_refused_with_its_place() {
    for (body, expected) in [
        ("this.desired.setpoint = 4.0;", "r.rhai:3:5: `this.desired` is what is wanted already"),
        ("this.desired = #{};", "call `desire(#{ ... })`"),
        ("this.reported.door += 1;", "r.rhai:3:5: nothing that is assigned to `this.reported`"),
        ("this[\"name\"] = 1;", "nothing that is assigned to `this.name`"),
        ("this = 1;", "nothing that is assigned to `this` is kept"),
        ("let x = this.repotred.door;", "`this` has no `repotred`: did you mean `reported`?"),
        ("let x = this.zzzzzzzz;", "`this` has no `zzzzzzzz`: it has product, name,"),
        ("if false { this.nam }", "`this` has no `nam`"),
        ("let x = report.valeus;", "`report` has no `valeus`: did you mean `values`?"),
        ("alert(\"a\", \"major\");", "r.rhai:3:1: `alert` takes 3 arguments, not 2"),
        ("call_service();", "`call_service` takes 1 or 2 arguments, not 0"),
        ("log(2.0, 10.0);", "`log` takes 1 arguments, not 2"),
        ("\"x\".publish();", "`publish` takes 2 arguments, not 1"),
        (
            "let x = 1; [1].map(|y| x + y);",
            "not variables and constants such as `x`: use a `for` loop",
        ),
        ("log(`${[|x| x]}`);", "r.rhai:3:9: a function cannot be put into a text"),
        ("f(1, 2); } fn f(a) { a", "`f` takes 1 arguments, not 2"),
        ("alret(); let x = one; let y = two;", "r.rhai:3:1: there is no function `alret`"),
        ("alret(); let x = one; let y = two;", "r.rhai:3:18: Undefined variable: one"),
        ("alret(); let x = one; let y = two;", "r.rhai:3:31: Undefined variable: two"),
    ] {
        let text = format!("const PRODUCT = \"coldroom\";\nfn on_report(report) {{\n{body}\n}}");
        for optimise in [true, false] {
            let (rules, problems) = load(&[("r", &text)], limits(optimise));
            assert!(rules.listing().is_empty(), "{body}");
            let told = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            assert!(told.contains(expected), "{body}\n{told}");
        }
    }
}

#[test]
fn what_only_looks_wrong_is_let_through() {
    for optimise in [true, false] {
        for body in [
            "let m = #{ a: 1 }; m.clear();",
            "let report = #{ mine: 1 }; log(report.mine);",
            "[#{ mine: 1 }].map(|x| x.mine);",
            "#{ mine: 1 }.f(); } fn f() { this.mine",
            "this.state.mine = 1; this.state[\"a\"] = 2; this.state = #{};",
            "let d = this.desired; d.setpoint = 4.0; desire(d);",
        ] {
            let outcome = report(&rule(body, limits(optimise)), Record::default(), &warm());
            let failed = outcome.notes.iter().any(|note| matches!(note, Note::RuleFailed { .. }));
            assert!(!failed, "{body}: {:?}", outcome.notes);
        }
    }
}

#[test]
fn whatever_is_logged_is_logged() {
    for (body, expected) in [
        ("log(\"x\");", "x"),
        ("log(40.5);", "40.5"),
        ("log(7);", "7"),
        ("log(#{ a: [true, ()] });", r#"{"a":[true,null]}"#),
        ("log(this.reported.temperature);", "9.5"),
        ("let f = |x| x; log(`${f} ${[f]}`);", "a function [a function]"),
        ("let f = |x| x; log(f.name);", "a function"),
        ("let f = |x| x; log(\"\" + f);", "a function"),
    ] {
        for optimise in [true, false] {
            let outcome = report(&rule(body, limits(optimise)), Record::default(), &warm());
            assert_eq!(logs(&outcome), [expected], "{body}: {:?}", outcome.notes);
        }
    }
}

#[test]
fn a_failure_is_told_in_few_words_that_are_always_the_same() {
    for optimise in [true, false] {
        let body = "let s = \"x\"; s.pad(4000, 'x'); throw s;";
        let (_, message) =
            support::failure(&report(&rule(body, limits(optimise)), Record::default(), &warm()));
        assert!(message.len() == 500 && message.ends_with("x..."), "{message}");
        for (body, expected) in [
            ("[1].map(|a, b, c, d| a);", "Function not found: closure (i64, i64)"),
            ("let f = |x| x; throw f;", "Runtime error: Fn(closure)"),
            ("let f = |x| x; throw [f];", "Runtime error: [Fn*(\"closure\")]"),
        ] {
            let rules = rule(body, limits(optimise));
            let (_, message) = support::failure(&report(&rules, Record::default(), &warm()));
            assert!(message.starts_with(expected), "{body}: {message}");
        }
    }
}

#[test]
fn two_files_of_one_name_do_not_replace_each_other() {
    for optimise in [true, false] {
        let text = |word: &str| {
            format!("const PRODUCT = \"coldroom\";\nfn on_report(r) {{ log(\"{word}\"); }}")
        };
        let (first, second) = (text("first"), text("second"));
        let (rules, problems) = load(&[("a/r", &first), ("b/r", &second)], limits(optimise));
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            ["b/r.rhai: a/r.rhai is the rule `r` already: give this file another name"]
        );
        assert_eq!(logs(&report(&rules, Record::default(), &warm())), ["first"]);
        let (in_force, _) = load(&[("b/r", &second)], limits(optimise));
        let (rules, problems) = reload(&in_force, &[("a/r", &first), ("b/r", &second)]);
        assert_eq!(problems.len(), 1);
        assert_eq!(logs(&report(&rules, Record::default(), &warm())), ["second"]);
    }
}

#[test]
fn a_broken_edit_keeps_the_last_good_version_and_says_so() {
    for optimise in [true, false] {
        let good =
            "// Says hello.\nconst PRODUCT = \"coldroom\";\nfn on_report(r) { log(\"hello\"); }";
        let (first, _) = load(&[("r", good)], limits(optimise));
        let (broken, problems) = reload(&first, &[("r", "const PRODUCT = ;")]);
        assert_eq!(problems.len(), 1);
        assert_eq!(logs(&report(&broken, Record::default(), &warm())), ["hello"]);
        let listed = broken.listing().remove(0);
        assert_eq!((listed.about.as_str(), listed.stale.is_some()), ("Says hello.", true));
        assert_eq!(listed.revision, first.listing()[0].revision);
        let (mended, problems) = reload(&broken, &[("r", good)]);
        assert!(problems.is_empty() && mended.listing()[0].stale.is_none());
        let (gone, _) = reload(&mended, &[]);
        assert!(gone.listing().is_empty());
    }
}

#[test]
fn constants_can_be_used_in_functions_if_they_are_scalars() {
    for (body, expected) in [
        ("log(`${MAX}`);", "8"),
        ("f(); } fn f() { log(MAX);", "8"),
        ("let MAX = 3; log(MAX);", "3"),
        ("f(1); } fn f(MAX) { log(MAX);", "1"),
        ("for MAX in 5..6 { log(MAX); }", "5"),
        ("for (x, MAX) in 5..6 { log(MAX); }", "0"),
        ("try { throw 4; } catch (MAX) { log(MAX); }", "4"),
        ("let f = 2; if f > 1 { let MAX = 3; log(MAX); }", "3"),
        ("if true { let MAX = 2; } log(MAX);", "8"),
    ] {
        let text = format!(
            "const PRODUCT = \"coldroom\";\nconst MAX = 2 * 4;\nfn on_report(r) {{\n{body}\n}}"
        );
        for optimise in [true, false] {
            let (rules, problems) = load(&[("r", &text)], limits(optimise));
            assert!(problems.is_empty(), "{body} {problems:?}");
            let outcome = report(&rules, Record::default(), &warm());
            assert_eq!(logs(&outcome), [expected], "{body} {optimise} {:?}", outcome.notes);
            let (_, problems) =
                load(&[("r", &text.replace("2 * 4", "#{ a: 8 }"))], limits(optimise));
            assert!(problems[0].message.contains("constant `MAX` is a map"), "{problems:?}");
        }
    }
}

proptest! {
    #[test]
    fn equal_inputs_give_equal_bytes(temperature in -80.0..60.0f64, count in 0i64..100) {
        let body = "this.state.n = (this.state.n ?? 0) + 1; \
                    if report.values.temperature > 8 { alert(\"a\", \"major\", `${report.values.temperature}`); }";
        let run = |optimise| {
            let rules = rule(body, limits(optimise));
            let mut record = Record::default();
            record.rules.insert("r".into(), json!({ "n": count }).as_object().unwrap().clone());
            let outcome = report(&rules, record, &json!({ "temperature": temperature }));
            (outcome.record.encode(), outcome.outgoing)
        };
        prop_assert_eq!(run(true), run(true));
        prop_assert_eq!(run(true), run(false));
    }
}
