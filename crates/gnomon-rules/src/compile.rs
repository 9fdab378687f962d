//! From the text of a rule to a rule that can run, or to everything that is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use gnomon_model::ProductKey;
use gnomon_model::id::fnv1a;
use rhai::{AST, ASTFlags, ASTNode, Dynamic, Engine, Expr, FnCallExpr, Position, Scope, Stmt};

use crate::functions::{ACTIONS, STANDARD};
use crate::names::{did_you_mean, glob};
use crate::reads::Reads;
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

/// Compiles a rule, or says everything that is wrong with it.
///
/// In two passes, since Rhai's strict mode takes a constant of the file for an undefined variable
/// inside a function: `survey` is not strict and finds the constants, which `engine` is then told.
pub(crate) fn compile(
    survey: &Engine,
    engine: &Engine,
    source: &RuleSource,
) -> Result<Rule, Vec<RuleProblem>> {
    let parsed = |error: rhai::ParseError| {
        vec![problem(source, error.position(), error.err_type().to_string())]
    };
    let surveyed = survey.compile(&source.text).map_err(parsed)?;
    let mut problems = Vec::new();
    check_top_level(source, &surveyed, &mut problems);
    let mut constants = Scope::new();
    if problems.is_empty()
        && let Err(error) = survey.run_ast_with_scope(&mut constants, &surveyed)
    {
        problems.push(problem(source, error.position(), error.to_string()));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    for (name, _, value) in constants.iter() {
        if value.is_array() || value.is_map() {
            let message = format!(
                "constant `{name}` is {}: functions see constants that are numbers, texts or \
                 booleans; write a function that returns it",
                if value.is_map() { "a map" } else { "an array" },
            );
            problems.push(problem(source, Position::NONE, message));
        }
    }
    let ast = engine.compile_with_scope(&constants, &source.text).map_err(parsed)?;
    let wakes = check_functions(source, &ast, &mut problems);
    check_calls(source, &ast, &mut problems);
    let constant = |name| constants.get_value::<Dynamic>(name);
    let product = check_product(source, constant("PRODUCT"), &mut problems);
    let device = check_device(source, constant("DEVICE"), &mut problems);
    if !problems.is_empty() {
        problems.sort_by_key(|problem| (problem.line, problem.column));
        return Err(problems);
    }
    Ok(Rule {
        name: stem(&source.file),
        file: source.file.clone(),
        product,
        wakes,
        reads: Reads::of(&ast),
        device,
        about: about(&source.text),
        revision: format!("{:016x}", fnv1a(&[&source.text])),
        ast,
    })
}

fn problem(source: &RuleSource, at: Position, message: impl Into<String>) -> RuleProblem {
    RuleProblem {
        file: source.file.clone(),
        line: at.line().unwrap_or(0),
        column: at.position().unwrap_or(0),
        message: message.into(),
    }
}

fn stem(file: &str) -> String {
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

fn check_top_level(source: &RuleSource, ast: &AST, problems: &mut Vec<RuleProblem>) {
    for stmt in ast.statements() {
        let allowed = match stmt {
            Stmt::Noop(..) => true,
            Stmt::Var(_, flags, _) => flags.intersects(ASTFlags::CONSTANT),
            _ => false,
        };
        if !allowed {
            let message = "only `const` and `fn` may stand outside of functions: put it into one";
            problems.push(problem(source, stmt.position(), message));
        }
    }
}

fn check_functions(
    source: &RuleSource,
    ast: &AST,
    problems: &mut Vec<RuleProblem>,
) -> BTreeMap<usize, usize> {
    let mut wakes = BTreeMap::new();
    for function in ast.iter_fn_def() {
        let (name, at) = (function.name.as_str(), function.body.start_position());
        if let Some(wake) = WAKES.iter().position(|wake| *wake == name) {
            wakes.insert(wake, at.line().unwrap_or(0));
            if function.params.len() != 1 {
                let message =
                    format!("`{name}` has {} parameters, one is given", function.params.len());
                problems.push(problem(source, at, message));
            }
        } else if name.starts_with("on_") {
            let hint = did_you_mean(name, WAKES.iter().copied());
            let message = format!("nothing wakes `{name}`{hint}");
            problems.push(problem(source, at, message));
        }
    }
    if wakes.is_empty() && problems.is_empty() {
        let message = format!("nothing wakes this rule: write one of {}", WAKES.join(", "));
        problems.push(problem(source, Position::NONE, message));
    }
    wakes
}

fn check_calls(source: &RuleSource, ast: &AST, problems: &mut Vec<RuleProblem>) {
    let own: BTreeSet<String> =
        ast.iter_fn_def().map(|function| function.name.to_string()).collect();
    let known =
        |name: &str| ACTIONS.contains(&name) || STANDARD.contains(&name) || own.contains(name);
    each_call(ast, &mut |call: &FnCallExpr, at| {
        let name = call.name.as_str();
        let is_operator = call.op_token.is_some() || !name.starts_with(|c: char| c.is_alphabetic());
        if !is_operator && !known(name) {
            let all = ACTIONS.iter().chain(STANDARD).copied().chain(own.iter().map(String::as_str));
            let message = format!("there is no function `{name}`{}", did_you_mean(name, all));
            problems.push(problem(source, at, message));
        }
    });
}

fn each_call(ast: &AST, on_call: &mut impl FnMut(&FnCallExpr, Position)) {
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        match path.last() {
            Some(ASTNode::Expr(Expr::FnCall(call, at) | Expr::MethodCall(call, at))) => {
                on_call(call, *at);
            }
            Some(ASTNode::Stmt(Stmt::FnCall(call, at))) => on_call(call, *at),
            _ => {}
        }
        true
    });
}

fn check_product(
    source: &RuleSource,
    product: Option<Dynamic>,
    problems: &mut Vec<RuleProblem>,
) -> String {
    let text = product.and_then(|product| product.into_string().ok());
    let Some(text) = text else {
        let message =
            "the rule does not say what it applies to: add `const PRODUCT = \"coldroom\";`";
        problems.push(problem(source, Position::NONE, message));
        return String::new();
    };
    if let Err(error) = ProductKey::parse(&text) {
        problems.push(problem(source, Position::NONE, format!("PRODUCT: {error}")));
    }
    text
}

fn check_device(
    source: &RuleSource,
    device: Option<Dynamic>,
    problems: &mut Vec<RuleProblem>,
) -> String {
    let Some(device) = device else { return "*".to_owned() };
    device.into_string().unwrap_or_else(|kind| {
        let message = format!("DEVICE is a {kind}, not a text such as \"room-*\"");
        problems.push(problem(source, Position::NONE, message));
        String::new()
    })
}
