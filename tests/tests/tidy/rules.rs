//! What is never in a Rust file.

use crate::source::{Kind, Source, declared_module};

/// Longest file: lines that are shipped, and lines of a file of tests.
const LINES_MAX: (usize, usize) = (400, 800);
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["util", "utils", "common", "helper", "helpers", "misc", "shared"];
/// First words of topics and subjects of the dialects.
const TOPIC_ROOTS: [&str; 5] = ["devices/", "/sys/", "$aws/", "/ext/", "/shadow/"];
/// The crate that owns their grammar.
const TOPIC_OWNER: &str = "crates/gnomon-dialect/";
/// What the model may not read: the same arguments give the same result everywhere.
const IMPURE: [&str; 8] = [
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant",
    "tokio",
];
/// Where code decides, and therefore does not wait.
const DECIDING: [&str; 8] = [
    "crates/gnomon-model/src/",
    "crates/gnomon-dialect/src/",
    "crates/gnomon-rules/src/",
    "functions/telemetry/src/lib.rs",
    "functions/shadow/src/lib.rs",
    "functions/rrpc/src/lib.rs",
    "functions/alert/src/lib.rs",
    "functions/timer/src/lib.rs",
];

/// One check: yields lines (1-based) and what is wrong with each.
type Check = fn(&Source) -> Vec<(usize, String)>;

const CHECKS: [Check; 8] =
    [head, length, attributes, unfinished, sleeps, globs, topics, names_and_purity];

/// All that is wrong with a file, as `file:line: what to do`.
pub(crate) fn check(source: &Source) -> Vec<String> {
    let wrong = CHECKS.iter().flat_map(|check| check(source));
    wrong.map(|(line, what)| format!("{}:{line}: {what}", source.path)).collect()
}

fn head(source: &Source) -> Vec<(usize, String)> {
    if source.raw.starts_with("//!") {
        return Vec::new();
    }
    vec![(1, "no head: begin with `//!` and what this file is for, in one sentence".into())]
}

fn length(source: &Source) -> Vec<(usize, String)> {
    let (lines, max) = match source.kind {
        Kind::Product => (source.product_lines(), LINES_MAX.0),
        Kind::Test => (source.code.len(), LINES_MAX.1),
    };
    if lines <= max {
        return Vec::new();
    }
    vec![(max, format!("{lines} lines, at most {max}: cut the file where it has two purposes"))]
}

fn lines_with(source: &Source, needle: &str, instead: &str) -> Vec<(usize, String)> {
    let found = source.numbered().filter(|(_, line)| has_word(line, needle));
    found.map(|(line, _)| (line, format!("`{needle}`: {instead}"))).collect()
}

/// Whether the needle stands in the line and does not end a longer name.
fn has_word(line: &str, needle: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(needle).any(|(at, _)| {
        let rest = &line[at + needle.len()..];
        let begins = !(needle.starts_with(in_name) && line[..at].ends_with(in_name));
        let ends = !(needle.ends_with(in_name) && rest.starts_with(in_name));
        begins && ends
    })
}

fn attributes(source: &Source) -> Vec<(usize, String)> {
    lines_with(source, "#[ignore", "a test is never ignored: mend it, or assert today's answer")
}

fn unfinished(source: &Source) -> Vec<(usize, String)> {
    let mut found = lines_with(source, "todo!", "finish it, or open an issue and refuse the case");
    found.extend(lines_with(source, "unimplemented!", "finish it, or refuse the case"));
    found
}

fn sleeps(source: &Source) -> Vec<(usize, String)> {
    let instead = "a test waits for what it wants to see, with a deadline";
    let mut found = lines_with(source, "sleep(", instead);
    found.retain(|(line, _)| source.is_test_line(*line));
    found
}

fn globs(source: &Source) -> Vec<(usize, String)> {
    let is_glob = |line: &str| {
        let line = line.trim_start();
        line.starts_with("pub") && line.contains("use ") && line.contains('*')
    };
    let found = source.numbered().filter(|(_, line)| is_glob(line));
    found.map(|(line, _)| (line, "`pub use …::*`: name what is public".into())).collect()
}

fn topics(source: &Source) -> Vec<(usize, String)> {
    if source.path.starts_with(TOPIC_OWNER) {
        return Vec::new();
    }
    let is_template =
        |text: &str| text.contains('{') && TOPIC_ROOTS.iter().any(|root| text.starts_with(root));
    let templates = source.literals.iter().filter(|literal| is_template(&literal.content));
    let found = templates.filter(|literal| !source.is_test_line(literal.line));
    found
        .map(|literal| {
            let what = format!("topic \"{}\": let gnomon-dialect make it", literal.content);
            (literal.line, what)
        })
        .collect()
}

fn names_and_purity(source: &Source) -> Vec<(usize, String)> {
    let mut found = empty_names(source);
    if source.kind == Kind::Test {
        return found;
    }
    if source.path.starts_with("crates/gnomon-model/src/") {
        let instead = "the model is pure: take it as an argument";
        found.extend(IMPURE.iter().flat_map(|word| lines_with(source, word, instead)));
    }
    if DECIDING.iter().any(|place| source.path.starts_with(place)) {
        let instead = "if it awaits, it does not decide: move the waiting to the shell";
        found.extend(["async", ".await"].iter().flat_map(|word| lines_with(source, word, instead)));
    }
    found
}

fn empty_names(source: &Source) -> Vec<(usize, String)> {
    let what = |name: &str| format!("`{name}` says nothing: name it for what is inside");
    let folders = source.path.trim_end_matches(".rs").split('/');
    let mut found: Vec<_> =
        folders.filter(|part| EMPTY_NAMES.contains(part)).map(|part| (1, what(part))).collect();
    let declared = source.numbered().filter_map(|(line, text)| {
        declared_module(text)
            .filter(|name| EMPTY_NAMES.contains(name))
            .map(|name| (line, what(name)))
    });
    found.extend(declared);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks a product file of that path whose head is in order.
    fn problems(path: &str, code: &str) -> Vec<String> {
        check(&Source::new(path, Kind::Product, &format!("//! Head.\n{code}")))
    }

    #[test]
    fn what_is_never_in_a_file_is_found_where_it_is() {
        let gateway = "crates/gnomon-gateway/src/a.rs";
        let model = "crates/gnomon-model/src/a.rs";
        for (path, code, part) in [
            (gateway, "#[ignore]\nfn a() {}", ":2: `#[ignore`"),
            (gateway, "\nfn a() { todo!(\"later\") }", ":3: `todo!`"),
            (gateway, "fn a() { unimplemented!() }", "`unimplemented!`"),
            (gateway, "#[cfg(test)]\nmod tests {\n    sleep(x)\n}", ":4: `sleep(`"),
            (gateway, "pub use crate::a::*;", "pub use"),
            (gateway, "pub(crate) use a::*;", "pub use"),
            (gateway, "x(format!(\n \"devices/{a}/b\"))", ":3: topic"),
            (gateway, "write!(f, \"/sys/{a}\")", "topic"),
            (gateway, "const A: &str = \"$aws/things/{}\";", "topic"),
            (gateway, "mod utils;", "`utils`"),
            (gateway, "pub(crate) mod helpers {", "`helpers`"),
            ("crates/gnomon-gateway/src/common/a.rs", "", "`common`"),
            ("crates/gnomon-gateway/src/misc.rs", "", "`misc`"),
            (model, "use std::time::Instant;", "`Instant`"),
            (model, "std::time::SystemTime::now()", "`SystemTime`"),
            (model, "std::env::var(x)", "`std::env`"),
            (model, "use tokio::sync::mpsc;", "`tokio`"),
            (model, "pub async fn a() {}", "`async`"),
            ("functions/telemetry/src/lib.rs", "a().await", "`.await`"),
        ] {
            let found = problems(path, code);
            assert_eq!(found.len(), 1, "{code}: {found:?}");
            assert!(found[0].starts_with(path) && found[0].contains(part), "{code}: {found:?}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_left_alone() {
        let gateway = "crates/gnomon-gateway/src/a.rs";
        for (path, code) in [
            (gateway, "// todo!() and sleep(1)"),
            (gateway, "let a = \"todo!\";"),
            (gateway, "fn a() { sleep(x) }"),
            (gateway, "\"devices/coldroom/a\""),
            (gateway, "route(\"/v1/devices/{product}\")"),
            (gateway, "#[cfg(test)]\nmod tests {\n    format!(\"devices/{a}\")\n}"),
            (gateway, "use crate::a::*;"),
            (gateway, "let utils = 1;"),
            (gateway, "thread_sleep(1)"),
            ("crates/gnomon-dialect/src/plain.rs", "format!(\"devices/{a}\")"),
            ("crates/gnomon-model/src/a.rs", "use std::time::Duration; struct Instants;"),
            ("functions/api/src/lib.rs", "async fn a() {}"),
        ] {
            assert_eq!(problems(path, code), Vec::<String>::new(), "{code}");
        }
    }

    #[test]
    fn long_files_and_files_without_a_head_are_found() {
        let long = "x\n".repeat(400);
        assert_eq!(problems("a.rs", &long).len(), 1);
        assert_eq!(problems("a.rs", &long[2..]), Vec::<String>::new());
        let tested = format!("#[cfg(test)]\nmod tests {{\n{long}}}");
        assert_eq!(problems("a.rs", &tested), Vec::<String>::new());
        let test = |lines| check(&Source::new("a.rs", Kind::Test, &"//!\n".repeat(lines)));
        assert_eq!((test(800).len(), test(801).len()), (0, 1));
        assert_eq!(check(&Source::new("a.rs", Kind::Product, "use a;")).len(), 1);
    }
}
