//! The rules of the repository, and two that do one device harm and nobody else.

use std::path::Path;

use gnomon_tests::server::{repository, write};
use tempfile::TempDir;

/// Fails on every report of a device, after it has raised an alert that nobody may see.
const FAILS: (&str, &str) = (
    "fails",
    "// Fails.\nconst PRODUCT = \"coldroom\";\nconst DEVICE = \"dev-6\";\nfn on_report(report) {\n    \
     alert(\"unseen\", \"critical\", `${this.reported.temperature}`);\n    let none = 1 / 0;\n}\n",
);
/// Runs out of its budget on every sixteenth report or so of a device: each time takes as long as
/// the limit lets it, and all of them would be a load and not a fault.
const SPENDS: (&str, &str) = (
    "spends",
    "// Never ends.\nconst PRODUCT = \"coldroom\";\nconst DEVICE = \"dev-7\";\nfn on_report(report) {\n    \
     if report.time % 16 == 0 {\n        alert(\"unseen\", \"critical\", `${this.reported.temperature}`);\n        \
     let count = 0;\n        loop { count += 1; }\n    }\n}\n",
);

/// A folder of all these rules.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for entry in std::fs::read_dir(repository().join("rules")).expect("there are rules") {
        let from = entry.expect("a folder can be read").path();
        let to = folder.path().join(from.file_name().expect("a file has a name"));
        std::fs::copy(from, to).expect("a file can be copied");
    }
    for (name, text) in [FAILS, SPENDS] {
        write(&folder.path().join(Path::new(name).with_extension("rhai")), text);
    }
    folder
}

/// Both have failed, as the logs of the workers tell; that nobody saw their alerts, the watchers know.
pub(crate) fn assert_failed(logs: &[String]) {
    for (rule, device) in [("fails", "dev-6"), ("spends", "dev-7")] {
        let failed =
            |line: &str| ["rule failed", rule, device].iter().all(|word| line.contains(word));
        let count = logs.iter().flat_map(|log| log.lines()).filter(|line| failed(line)).count();
        println!("the rule {rule} failed {count} times");
        assert!(count > 0, "{rule} did not fail: does it run?");
    }
}
