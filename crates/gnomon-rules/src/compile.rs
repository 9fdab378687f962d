//! From the text of a rule to a rule that can run, or to everything that is wrong with it.

use std::collections::BTreeMap;

use gnomon_model::ProductKey;
use gnomon_model::id::fnv1a;
use rhai::{AST, Dynamic, ParseErrorType, Position, Scope};

use crate::check::{self, Found};
use crate::engine::Machine;
use crate::evaluate::{shorten, told};
use crate::names::glob;
use crate::reads::Reads;
use crate::running::{self, Constants};
use crate::{RuleListing, RuleProblem, RuleSource};

/// Functions that wake a rule; the place in this list is the wake's index.
pub(crate) const WAKES: [&str; 5] =
    ["on_report", "on_event", "on_presence", "on_request", "on_shadow"];

/// A rule that can run.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) product: String,
    pub(crate) ast: AST,
    /// Indices into [`WAKES`], with the line of each function.
    pub(crate) wakes: BTreeMap<usize, usize>,
    pub(crate) reads: Reads,
    pub(crate) constants: Constants,
    device: String,
    about: String,
    revision: String,
}

impl Rule {
    /// Whether the rule applies to this device of its product.
    pub(crate) fn applies_to(&self, device: &str) -> bool {
        self.device == "*" || glob(self.device.as_bytes(), device.as_bytes())
    }

    pub(crate) fn listing(&self, stale: Option<String>) -> RuleListing {
        RuleListing {
            name: self.name.clone(),
            file: self.file.clone(),
            product: self.product.clone(),
            device: self.device.clone(),
            wakes: self.wakes.keys().map(|wake| WAKES[*wake]).collect(),
            about: self.about.clone(),
            revision: self.revision.clone(),
            stale,
        }
    }
}

/// Most variables that are not there, of which one compilation tells.
const UNDEFINED_MAX: usize = 16;

/// Compiles a rule, or says everything that is wrong with it.
///
/// In two passes, since Rhai's strict mode takes a constant of the file for an undefined variable
/// inside a function: the survey is not strict and finds the constants, which the engine is then
/// told. The survey is not optimised either, so that all that is written is checked.
pub(crate) fn compile(machine: &Machine, source: &RuleSource) -> Result<Rule, Vec<RuleProblem>> {
    let parsed = |error: rhai::ParseError| {
        vec![problem(source, error.position(), error.err_type().to_string())]
    };
    let surveyed = machine.survey.compile(&source.text).map_err(parsed)?;
    let mut found = check::top_level(&surveyed);
    let wakes = check::functions(&surveyed, &mut found);
    check::calls(&surveyed, &mut found);
    check::device(&surveyed, &mut found);
    let (mut head, mut values, mut compiled) = (Head::default(), Constants::default(), None);
    match constants(machine, &surveyed) {
        Ok(constants) => {
            check::constants(&constants, &mut found);
            head = Head::of(&constants, &mut found);
            let all = constants.iter().map(|(name, _, value)| (name.to_owned(), value));
            values = Constants::new(all.collect());
            compiled = strictly(machine, source, &constants, &mut found);
        }
        Err(why) => found.push(why),
    }
    match compiled {
        Some(ast) if found.is_empty() => Ok(Rule {
            name: stem(&source.file),
            file: source.file.clone(),
            product: head.product,
            wakes,
            reads: Reads::of(&ast),
            constants: values,
            device: head.device,
            about: about(&source.text),
            revision: format!("{:016x}", fnv1a(&[&source.text])),
            ast,
        }),
        _ => {
            found.sort_by_key(|(at, _)| (at.line(), at.position()));
            found.dedup();
            Err(found.into_iter().map(|(at, message)| problem(source, at, message)).collect())
        }
    }
}

fn problem(source: &RuleSource, at: Position, message: impl Into<String>) -> RuleProblem {
    RuleProblem {
        file: source.file.clone(),
        line: at.line().unwrap_or(0),
        column: at.position().unwrap_or(0),
        message: shorten(message.into()),
    }
}

/// Evaluates the constants, within the limits of an evaluation.
fn constants(machine: &Machine, surveyed: &AST) -> Result<Scope<'static>, (Position, String)> {
    let mut constants = Scope::new();
    running::begin(&machine.limits, machine.deadline_ns(), 0, Constants::default());
    let ran = machine.survey.run_ast_with_scope(&mut constants, surveyed);
    let actions = running::end();
    match ran {
        Err(error) => Err((error.position(), told(&error, &machine.limits))),
        Ok(()) if !actions.is_empty() => {
            let message = "a constant calls an action: rules decide in functions that are woken";
            Err((Position::NONE, message.to_owned()))
        }
        Ok(()) => Ok(constants),
    }
}

/// Compiles with every variable known. One that is not is a problem, and is then taken as known so
/// that the next is found. Constants are told as variables: with constants the optimiser replaces
/// parameters and loop variables of the same name too.
fn strictly(
    machine: &Machine,
    source: &RuleSource,
    constants: &Scope<'_>,
    found: &mut Found,
) -> Option<AST> {
    let mut known = Scope::new();
    for (name, ..) in constants.iter() {
        known.push(name, ());
    }
    for _ in 0..UNDEFINED_MAX {
        let error = match machine.engine.compile_with_scope(&known, &source.text) {
            Ok(ast) => return Some(ast),
            Err(error) => error,
        };
        found.push((error.position(), error.err_type().to_string()));
        let ParseErrorType::VariableUndefined(name) = error.err_type() else { return None };
        known.push(name.as_str(), ());
    }
    None
}

/// The name of the rule in a file.
pub(crate) fn stem(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.strip_suffix(".rhai").unwrap_or(name).to_owned()
}

/// The comment at the top, without its slashes.
fn about(text: &str) -> String {
    let lines = text.lines().map(str::trim).skip_while(|line| line.is_empty());
    let comment = lines.map_while(|line| line.strip_prefix("//"));
    let lines: Vec<&str> = comment.map(|line| line.trim_start_matches('/').trim()).collect();
    lines.join("\n").trim().to_owned()
}

/// What the constants say that the rule applies to.
#[derive(Default)]
struct Head {
    product: String,
    device: String,
}

impl Head {
    fn of(constants: &Scope<'_>, found: &mut Found) -> Self {
        let constant = |name| constants.get_value::<Dynamic>(name);
        let product = constant("PRODUCT").and_then(|product| product.into_string().ok());
        let mut wrong = |message| found.push((Position::NONE, message));
        match product.as_deref().map(ProductKey::parse) {
            Some(Ok(_)) => {}
            Some(Err(error)) => wrong(format!("PRODUCT: {error}")),
            None => wrong(
                "the rule does not say what it applies to: add `const PRODUCT = \"coldroom\";`"
                    .to_owned(),
            ),
        }
        let device = constant("DEVICE").map_or(Ok("*".to_owned()), Dynamic::into_string);
        let device = device.unwrap_or_else(|kind| {
            wrong(format!("DEVICE is a {kind}, not a text such as \"room-*\""));
            String::new()
        });
        Self { product: product.unwrap_or_default(), device }
    }
}
