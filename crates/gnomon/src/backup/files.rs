//! Models and rules: files under two folders.

use std::fs;
use std::path::{Component, Path};

use gnomon_run::Failure;

/// Paths below the folder with `/` between their parts, and texts, sorted; of files with this ending.
pub(super) fn read(folder: &Path, ending: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut found = Vec::new();
    collect(folder, "", ending, &mut found)?;
    found.sort();
    Ok(found)
}

fn collect(
    folder: &Path,
    before: &str,
    ending: &str,
    found: &mut Vec<(String, String)>,
) -> Result<(), Failure> {
    let fault =
        |error: std::io::Error| Failure::from_error(&format!("read {}", folder.display()), &error);
    for entry in fs::read_dir(folder).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            collect(&path, &format!("{before}{name}/"), ending, found)?;
        } else if path.extension().is_some_and(|found| found == ending) {
            found.push((format!("{before}{name}"), fs::read_to_string(&path).map_err(fault)?));
        }
    }
    Ok(())
}

/// Whether a path of a backup stays below its folder.
pub(super) fn is_below(path: &str) -> bool {
    let parts = Path::new(path).components();
    !path.is_empty() && parts.into_iter().all(|part| matches!(part, Component::Normal(_)))
}

/// Whether another text stands at that path.
pub(super) fn differs(folder: &Path, path: &str, text: &str) -> bool {
    fs::read_to_string(folder.join(path)).is_ok_and(|found| found != text)
}

/// Writes one of them.
pub(super) fn write(folder: &Path, path: &str, text: &str) -> Result<(), Failure> {
    let path = folder.join(path);
    let parent = path.parent().unwrap_or(folder);
    let written = fs::create_dir_all(parent).and_then(|()| fs::write(&path, text));
    written.map_err(|error| Failure::from_error(&format!("write {}", path.display()), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_not_leave_its_folder() {
        for (path, then) in [
            ("coldroom/coldroom.json", true),
            ("a.rhai", true),
            ("../a.rhai", false),
            ("a/../../b", false),
            ("/etc/passwd", false),
            ("", false),
        ] {
            assert_eq!(is_below(path), then, "{path}");
        }
    }
}
