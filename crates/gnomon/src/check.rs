//! `gnomon check`: thing models and rules, without running anything.

use gnomon_model::Models;

use gnomon_run::Failure;
use gnomon_run::library::{no_rules, read_models, read_rules};
use gnomon_run::{Flags, Settings};

/// Checks everything and prints what there is, or everything that is wrong.
pub(crate) fn check(flags: &Flags) -> Result<(), Failure> {
    let settings = Settings::load(flags)?;
    let models = read_models(&settings.schemas, &Models::new());
    let rules = read_rules(&settings.rules, &no_rules());
    let mut problems = models.problems;
    problems.extend(rules.problems);
    for model in models.good.values() {
        println!("model  {}", model.product);
    }
    for rule in rules.good.listing() {
        println!("rule   {:<24} {}", rule.name, rule.about.lines().next().unwrap_or_default());
    }
    if problems.is_empty() {
        return Ok(());
    }
    problems.push(format!("{} problems", problems.len()));
    Err(Failure(problems))
}
