//! The invariants of the architecture, held by reading manifests and source files.
//!
//! See: ARCHITECTURE.md. A failure names file and line, and says what to do.

mod manifest;
mod rules;
mod source;

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use gnomon_tests::server::repository;

use crate::manifest::Manifest;
use crate::source::{Kind, Source};

/// Folders at the root that hold nothing of ours.
const FOREIGN: [&str; 3] = ["target", "data", ".git"];
/// Ends of the names of files that people write.
const WRITTEN: [&str; 12] = [
    ".rs", ".toml", ".md", ".py", ".sh", ".rhai", ".json", ".txt", ".yml", ".yaml", "Makefile",
    "run",
];
/// Folders of the machines that the project is written on, in two parts: this file is read too.
const MACHINE_FOLDERS: [(&str, &str); 4] =
    [("/wo", "rk/"), ("/fa", "rm/"), ("/ho", "me/"), ("/ro", "ot/")];

/// Paths of all files that people write, from the root, with their text.
fn files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(repository(), &mut found);
    found.sort();
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder can be listed") {
        let path = entry.expect("a folder can be listed").path();
        let name = path.strip_prefix(repository()).expect("it is in the repository");
        let name = name.to_str().expect("names are UTF-8").to_owned();
        if path.is_dir() {
            if !FOREIGN.contains(&name.as_str()) && !name.ends_with("__pycache__") {
                collect(&path, found);
            }
        } else if WRITTEN.iter().any(|end| name.ends_with(end)) {
            let text = fs::read_to_string(&path);
            found.push((name, text.expect("what people write is UTF-8")));
        }
    }
}

fn assert_tidy(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} things are untidy:\n{}", wrong.len(), wrong.join("\n"));
}

fn sources() -> Vec<Source> {
    let files: Vec<_> = files().into_iter().filter(|(path, _)| path.ends_with(".rs")).collect();
    let tests = only_for_tests(&files);
    let kind = |path: &str| if tests.contains(path) { Kind::Test } else { Kind::Product };
    files.iter().map(|(path, raw)| Source::new(path, kind(path), raw)).collect()
}

/// Files in folders of tests, and modules that their parent declares `#[cfg(test)]`.
fn only_for_tests(files: &[(String, String)]) -> HashSet<String> {
    let mut found = HashSet::new();
    for (path, raw) in files {
        if ["/tests/", "/examples/", "/benches/"].iter().any(|folder| path.contains(folder)) {
            found.insert(path.clone());
        }
        let source = Source::new(path, Kind::Product, raw);
        for module in source.test_modules() {
            found.extend(places_of(path, &module));
        }
    }
    found
}

/// Where the module that `path` declares may be.
fn places_of(path: &str, module: &str) -> [String; 2] {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = match file {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        other => format!("{folder}/{}", other.trim_end_matches(".rs")),
    };
    [format!("{folder}/{module}.rs"), format!("{folder}/{module}/mod.rs")]
}

/// Lines that name a folder of somebody's machine.
fn machine_folders(path: &str, text: &str) -> Vec<String> {
    let names_one = |line: &str| {
        MACHINE_FOLDERS.iter().any(|(first, second)| line.contains(&format!("{first}{second}")))
    };
    let lines = text.lines().enumerate().filter(|(_, line)| names_one(line));
    let what = "a path of somebody's machine: write it from the root of the repository";
    lines.map(|(index, _)| format!("{path}:{}: {what}", index + 1)).collect()
}

#[test]
fn source_files_hold_the_invariants() {
    let sources = sources();
    assert!(sources.len() > 50, "only {} source files were found", sources.len());
    assert_tidy(&sources.iter().flat_map(rules::check).collect::<Vec<_>>());
}

#[test]
fn manifests_hold_the_directions() {
    let files = files();
    let manifests = files.iter().filter(|(path, _)| path.ends_with("Cargo.toml"));
    let manifests: Vec<_> = manifests.map(|(path, raw)| Manifest::new(path, raw)).collect();
    assert!(manifests.len() > 10, "only {} manifests were found", manifests.len());
    assert_tidy(&manifests.iter().flat_map(manifest::check).collect::<Vec<_>>());
}

#[test]
fn no_file_names_a_folder_of_a_machine() {
    let wrong = files().into_iter().flat_map(|(path, text)| machine_folders(&path, &text));
    assert_tidy(&wrong.collect::<Vec<_>>());
}

#[test]
fn folders_of_machines_are_found() {
    let text = format!("a\nsee {}{}main", "/wo", "rk/");
    assert_eq!(machine_folders("a.md", &text).len(), 1);
    assert!(machine_folders("a.md", &text)[0].starts_with("a.md:2: "));
    assert_eq!(machine_folders("a.md", "framework/main, /homework"), Vec::<String>::new());
}

#[test]
fn test_modules_are_found_beside_their_parents() {
    assert_eq!(places_of("a/src/lib.rs", "laws")[0], "a/src/laws.rs");
    assert_eq!(places_of("a/src/shadow/mod.rs", "laws")[0], "a/src/shadow/laws.rs");
    assert_eq!(places_of("a/src/merge.rs", "laws")[0], "a/src/merge/laws.rs");
}

/// Names in backticks that only a test can have.
fn names_of_tests(page: &str) -> Vec<&str> {
    let quoted = page.split('`').skip(1).step_by(2);
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    quoted.filter(|name| name.matches('_').count() >= 3 && name.bytes().all(is_letter)).collect()
}

#[test]
fn every_test_that_the_guarantees_name_is_there() {
    let files = files();
    let page = &files.iter().find(|(path, _)| path == "docs/guarantees.md").expect("it is there").1;
    let sources: Vec<_> = files.iter().filter(|(path, _)| path.ends_with(".rs")).collect();
    let names = names_of_tests(page);
    assert!(names.len() > 40, "{names:?}");
    let missing: Vec<String> = names
        .into_iter()
        .filter(|name| {
            let function = format!("fn {name}");
            let has = |(_, raw): &&(String, String)| {
                raw.match_indices(&function)
                    .any(|(at, _)| raw[at + function.len()..].starts_with(['(', '<']))
            };
            !sources.iter().any(has)
        })
        .map(str::to_owned)
        .collect();
    assert_tidy(&missing);
}
