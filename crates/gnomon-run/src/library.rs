//! Thing models and rules as they stand on disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gnomon_model::{Models, ProductKey, ThingModel};
use gnomon_rules::{Clock, Limits, RuleSet, RuleSource};

/// Most bytes of one model or rule file (`wire/alibaba.md` 5.4 for models).
const FILE_BYTES_MAX: u64 = 512 * 1024;

/// What was read, and everything that is wrong with it.
#[derive(Debug, Default)]
pub struct Read<T> {
    /// What can be used.
    pub good: T,
    /// What cannot, one line each: file, place, reason.
    pub problems: Vec<String>,
}

/// Reads all thing models: one folder a product, `schemas/<product>/*.json`. A product with a
/// problem keeps the model that it has in `before`.
pub fn read_models(dir: &Path, before: &Models) -> Read<Models> {
    let mut read = Read::<Models>::default();
    for folder in entries(dir, &mut read.problems).into_iter().filter(|path| path.is_dir()) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match read_product(&folder, &name) {
            Ok(model) => drop(read.good.insert(model.product.clone(), Arc::new(model))),
            Err(problems) => {
                read.problems.extend(problems);
                if let Some((product, model)) =
                    before.iter().find(|(product, _)| product.as_str() == name)
                {
                    read.good.insert(product.clone(), model.clone());
                }
            }
        }
    }
    read
}

fn read_product(folder: &Path, name: &str) -> Result<ThingModel, Vec<String>> {
    let product = ProductKey::parse(name)
        .map_err(|error| vec![format!("{}: folder name: {error}", folder.display())])?;
    let mut problems = Vec::new();
    let mut files = Vec::new();
    for path in
        entries(folder, &mut problems).into_iter().filter(|path| has_extension(path, "json"))
    {
        match read_text(&path) {
            Ok(text) => files.push((path.display().to_string(), text)),
            Err(problem) => problems.push(problem),
        }
    }
    match ThingModel::load(&product, &files) {
        Ok(model) if problems.is_empty() => Ok(model),
        Ok(_) => Err(problems),
        Err(found) => {
            problems.extend(found.iter().map(ToString::to_string));
            Err(problems)
        }
    }
}

/// Makes the empty rule set, with the process's monotonic clock for deadlines.
pub fn no_rules() -> RuleSet {
    RuleSet::empty(monotonic_ns as Clock, Limits::default())
}

fn monotonic_ns() -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Reads all rules, `rules/*.rhai`. A rule with a problem keeps the version that it has in
/// `before`.
pub fn read_rules(dir: &Path, before: &RuleSet) -> Read<RuleSet> {
    let mut problems = Vec::new();
    let mut sources = Vec::new();
    for path in entries(dir, &mut problems).into_iter().filter(|path| has_extension(path, "rhai")) {
        match read_text(&path) {
            Ok(text) => sources.push(RuleSource { file: path.display().to_string(), text }),
            Err(problem) => problems.push(problem),
        }
    }
    let (good, found) = before.reload(sources);
    problems.extend(found.iter().map(ToString::to_string));
    Read { good, problems }
}

fn entries(dir: &Path, problems: &mut Vec<String>) -> Vec<PathBuf> {
    let found = fs::read_dir(dir).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
    });
    match found {
        Ok(mut paths) => {
            paths.sort();
            paths
        }
        Err(error) => {
            problems.push(format!("{}: {error}", dir.display()));
            Vec::new()
        }
    }
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension == wanted) && path.is_file()
}

fn read_text(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let size = fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{shown}: {size} bytes, at most {FILE_BYTES_MAX}"));
    }
    fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))
}
