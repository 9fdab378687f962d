//! What can be seen to be wrong in the text of a rule: calls of what is not there, members that
//! nothing has, and what would be done without effect.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{AST, ASTFlags, ASTNode, Expr, FnCallExpr, Position, Scope, Stmt};

use crate::compile::WAKES;
use crate::functions::{ACTIONS, STANDARD};
use crate::names::did_you_mean;
use crate::reads::{each_node, is_this, is_variable, members};

/// Members of `this`.
pub(crate) const DEVICE: [&str; 7] =
    ["product", "name", "online", "reported", "desired", "alerts", "state"];
/// Members of the argument of each of [`WAKES`].
pub(crate) const ARGUMENTS: [&[&str]; WAKES.len()] = [
    &["values", "time"],
    &["name", "values", "time"],
    &["online", "reason", "time"],
    &["name", "body", "time"],
    &["desired", "delta", "time"],
];

/// Problems with their places.
pub(crate) type Found = Vec<(Position, String)>;

/// Finds statements outside of functions that are none of `const` and `fn`.
pub(crate) fn top_level(ast: &AST) -> Found {
    let allowed = |stmt: &&Stmt| match stmt {
        Stmt::Noop(..) => true,
        Stmt::Var(_, flags, _) => flags.intersects(ASTFlags::CONSTANT),
        _ => false,
    };
    let message = "only `const` and `fn` may stand outside of functions: put it into one";
    let refused = ast.statements().iter().filter(|stmt| !allowed(stmt));
    refused.map(|stmt| (stmt.position(), message.to_owned())).collect()
}

/// Finds constants that functions cannot see.
pub(crate) fn constants(constants: &Scope<'_>, found: &mut Found) {
    for (name, _, value) in constants.iter() {
        if value.is_array() || value.is_map() {
            let message = format!(
                "constant `{name}` is {}: functions see constants that are numbers, texts or \
                 booleans; write a function that returns it",
                if value.is_map() { "a map" } else { "an array" },
            );
            found.push((Position::NONE, message));
        }
    }
}

/// Finds the functions that wake the rule, with their lines, and what is wrong with functions.
pub(crate) fn functions(ast: &AST, found: &mut Found) -> BTreeMap<usize, usize> {
    let mut wakes = BTreeMap::new();
    let before = found.len();
    for function in ast.iter_fn_def() {
        let (name, at) = (function.name.as_str(), function.body.start_position());
        if let Some(wake) = WAKES.iter().position(|wake| *wake == name) {
            wakes.insert(wake, at.line().unwrap_or(0));
            if function.params.len() != 1 {
                let message =
                    format!("`{name}` has {} parameters, one is given", function.params.len());
                found.push((at, message));
            }
        } else if name.starts_with("on_") {
            let hint = did_you_mean(name, WAKES.iter().copied());
            found.push((at, format!("nothing wakes `{name}`{hint}")));
        } else if ACTIONS.iter().any(|(action, _)| *action == name) {
            found.push((at, format!("`{name}` is an action: give the function another name")));
        }
    }
    if wakes.is_empty() && found.len() == before {
        let message = format!("nothing wakes this rule: write one of {}", WAKES.join(", "));
        found.push((Position::NONE, message));
    }
    wakes
}

/// Finds calls of functions that are not there, or not with so many arguments.
pub(crate) fn calls(ast: &AST, found: &mut Found) {
    let own: BTreeSet<(&str, usize)> =
        ast.iter_fn_def().map(|fun| (fun.name.as_str(), fun.params.len())).collect();
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        let (call, at, is_method) = match path.last() {
            Some(ASTNode::Expr(Expr::DynamicConstant(value, at))) => {
                if value.is_fnptr() && is_written_out(path) {
                    found.push((*at, "a function cannot be put into a text".to_owned()));
                }
                return true;
            }
            Some(ASTNode::Expr(Expr::FnCall(call, at)) | ASTNode::Stmt(Stmt::FnCall(call, at))) => {
                (call, *at, false)
            }
            Some(ASTNode::Expr(Expr::MethodCall(call, at))) => (call, *at, true),
            _ => return true,
        };
        let is_operator =
            call.op_token.is_some() || !call.name.starts_with(|c: char| c.is_alphabetic());
        if !is_operator && let Some(message) = call_problem(call, is_method, &own) {
            found.push((at, message));
        }
        true
    });
}

/// Whether the last node is put into a text: Rhai writes it out when it optimises.
fn is_written_out(path: &[ASTNode<'_>]) -> bool {
    let around = path.iter().rev().skip(1);
    let mut outer = around.skip_while(|node| {
        matches!(
            node,
            ASTNode::Expr(Expr::Array(..) | Expr::Map(..) | Expr::Stmt(..))
                | ASTNode::Stmt(Stmt::Expr(..) | Stmt::Block(..))
        )
    });
    matches!(outer.next(), Some(ASTNode::Expr(Expr::InterpolatedString(..))))
}

fn call_problem(
    call: &FnCallExpr,
    is_method: bool,
    own: &BTreeSet<(&str, usize)>,
) -> Option<String> {
    let (name, count) = (call.name.as_str(), call.args.len());
    if name == "curry" {
        return Some(captured(call));
    }
    // `map.clear()` and the like are functions of Rhai.
    if is_method && STANDARD.contains(&name) {
        return None;
    }
    if let Some((_, counts)) = ACTIONS.iter().find(|(action, _)| *action == name) {
        let count = count + usize::from(is_method);
        let expected: Vec<String> = counts.iter().map(usize::to_string).collect();
        return (!counts.contains(&count))
            .then(|| format!("`{name}` takes {} arguments, not {count}", expected.join(" or ")));
    }
    let of_name = || own.iter().filter(|(of, _)| *of == name);
    if STANDARD.contains(&name) || own.contains(&(name, count)) {
        return None;
    }
    if let Some((_, expected)) = of_name().next() {
        return Some(format!("`{name}` takes {expected} arguments, not {count}"));
    }
    let actions = ACTIONS.iter().map(|(action, _)| *action);
    let all = actions.chain(STANDARD.iter().copied()).chain(own.iter().map(|(own, _)| *own));
    Some(format!("there is no function `{name}`{}", did_you_mean(name, all)))
}

/// Rhai makes a call of `curry` for a closure that names anything around it.
fn captured(call: &FnCallExpr) -> String {
    let named = call.args.iter().filter_map(|argument| match argument {
        Expr::Variable(variable, ..) => Some(format!("`{}`", variable.1)),
        _ => None,
    });
    format!(
        "a closure sees its parameters only, not variables and constants such as {}: use a `for` \
         loop",
        named.collect::<Vec<_>>().join(", ")
    )
}

/// Finds members that neither the device nor the argument has, and assignments to what is not
/// kept. In the functions that are woken only: elsewhere `this` can be anything.
pub(crate) fn device(ast: &AST, found: &mut Found) {
    for function in ast.iter_fn_def() {
        let name = function.name.as_str();
        let Some(wake) = WAKES.iter().position(|wake| *wake == name) else { continue };
        let argument = function.params.first().map_or("", |name| name.as_str());
        let mut shadowed = false;
        let mut of_argument = Found::new();
        each_node(ast, name, &mut |path| {
            let member = members(path).first().copied();
            if is_this(path) {
                found.extend(unknown("this", member, &DEVICE, path));
            } else if is_variable(path, argument) {
                of_argument.extend(unknown(argument, member, ARGUMENTS[wake], path));
            }
            match path.last() {
                Some(ASTNode::Stmt(Stmt::Assignment(assignment))) => {
                    found.extend(lost(&assignment.1.lhs));
                }
                Some(ASTNode::Stmt(Stmt::Var(variable, ..))) => {
                    shadowed |= variable.0.name == argument;
                }
                Some(ASTNode::Stmt(Stmt::For(parts, _))) => {
                    shadowed |= parts.0.name == argument;
                }
                _ => {}
            }
        });
        if !shadowed {
            found.extend(of_argument);
        }
    }
}

fn unknown(
    of: &str,
    member: Option<&str>,
    known: &[&str],
    path: &[ASTNode<'_>],
) -> Option<(Position, String)> {
    let member = member.filter(|member| !known.contains(member))?;
    let hint = match did_you_mean(member, known.iter().copied()) {
        hint if hint.is_empty() => format!(": it has {}", known.join(", ")),
        hint => hint,
    };
    let at = path.last().map_or(Position::NONE, ASTNode::position);
    Some((at, format!("`{of}` has no `{member}`{hint}")))
}

/// What is wrong with assigning to this, if anything is.
fn lost(target: &Expr) -> Option<(Position, String)> {
    let chain = match target {
        Expr::Dot(chain, ..) | Expr::Index(chain, ..) => &chain.lhs,
        other => other,
    };
    if !matches!(chain, Expr::ThisPtr(..)) {
        return None;
    }
    let path = [ASTNode::Expr(target), ASTNode::Expr(chain)];
    let message = match members(&path).first() {
        Some(&"state") => return None,
        Some(&"desired") => {
            "`this.desired` is what is wanted already: call `desire(#{ ... })` to want something \
             else"
                .to_owned()
        }
        Some(member) => {
            format!("nothing that is assigned to `this.{member}` is kept: use `this.state`")
        }
        None => "nothing that is assigned to `this` is kept: use `this.state`".to_owned(),
    };
    Some((target.position(), message))
}
