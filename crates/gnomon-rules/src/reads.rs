//! What a rule reads, as far as its text tells.
//!
//! Invariants: a [`Part`] covers at least all that the rule can see of a value; where the text does
//! not tell, it is all of it.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{AST, ASTFlags, ASTNode, BinaryExpr, Expr};

use crate::compile::WAKES;

/// What a rule reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Reads {
    /// Names that stand after a dot, or as a text in brackets.
    pub(crate) names: BTreeSet<String>,
    /// Whether it also reads in a way that the text does not tell: `report.values[name]`, or all
    /// of `this.reported`.
    pub(crate) anything: bool,
    /// What it reads of `this`.
    pub(crate) this: Part,
    /// What the function of each wake reads of its argument.
    pub(crate) arguments: [Part; WAKES.len()],
}

/// The part of a value that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    All,
    /// Of a map these members; of anything else all of it.
    Members(BTreeMap<String, Part>),
}

impl Default for Part {
    fn default() -> Self {
        Self::Members(BTreeMap::new())
    }
}

impl Part {
    /// The part that is read of a member, if any is.
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::All => Some(self),
            Self::Members(members) => members.get(name),
        }
    }

    fn add(&mut self, path: &[&str]) {
        match (self, path) {
            (Self::All, _) => {}
            (this @ Self::Members(_), []) => *this = Self::All,
            (Self::Members(members), [first, rest @ ..]) => {
                members.entry((*first).to_owned()).or_default().add(rest);
            }
        }
    }
}

impl Reads {
    /// Finds what the text reads.
    pub(crate) fn of(ast: &AST) -> Self {
        let mut reads = Self::default();
        ast.walk(&mut |path: &[ASTNode<'_>]| {
            if let Some(ASTNode::Expr(expression)) = path.last() {
                reads.see(expression);
            }
            if is_this(path) {
                reads.this.add(&members(path));
            }
            true
        });
        for function in ast.iter_fn_def() {
            let wake = WAKES.iter().position(|wake| *wake == function.name.as_str());
            if let (Some(wake), Some(name)) = (wake, function.params.first()) {
                each_node(ast, &function.name, &mut |path| {
                    if is_variable(path, name) {
                        reads.arguments[wake].add(&members(path));
                    }
                });
            }
        }
        reads
    }

    fn see(&mut self, expression: &Expr) {
        match expression {
            Expr::Property(property, _) => drop(self.names.insert(property.2.to_string())),
            Expr::Dot(chain, ..) => {
                let named =
                    matches!(&chain.rhs, Expr::Property(..) | Expr::Dot(..) | Expr::Index(..));
                self.anything |= is_whole(&chain.rhs) || is_whole(&chain.lhs) && !named;
            }
            Expr::Index(index, ..) => match &index.rhs {
                Expr::StringConstant(name, _) => {
                    self.anything |= WHOLES.contains(&name.as_str());
                    self.names.insert(name.to_string());
                }
                _ => self.anything |= is_whole(&index.lhs),
            },
            _ => {}
        }
    }
}

/// Members that hold values by name.
const WHOLES: [&str; 2] = ["values", "reported"];

fn is_whole(expression: &Expr) -> bool {
    matches!(expression, Expr::Property(property, _) if WHOLES.contains(&property.2.as_str()))
}

/// Whether the last node is `this`.
pub(crate) fn is_this(path: &[ASTNode<'_>]) -> bool {
    matches!(path.last(), Some(ASTNode::Expr(Expr::ThisPtr(..))))
}

/// Whether the last node is the variable.
pub(crate) fn is_variable(path: &[ASTNode<'_>], name: &str) -> bool {
    matches!(path.last(), Some(ASTNode::Expr(Expr::Variable(variable, ..))) if variable.1 == name)
}

/// Shows every node of the functions of this name, with the nodes that it is in, outermost first.
pub(crate) fn each_node(ast: &AST, function: &str, on_node: &mut impl FnMut(&[ASTNode<'_>])) {
    let mut only = ast.clone_functions_only();
    only.retain_functions(|_, _, name, _| name == function);
    only.walk(&mut |path: &[ASTNode<'_>]| {
        on_node(path);
        true
    });
}

/// The members of the last node that the chain around it names: `reported`, `temperature` of
/// `this.reported.temperature.abs()`. None if the node does not begin a chain.
pub(crate) fn members<'a>(path: &[ASTNode<'a>]) -> Vec<&'a str> {
    let mut found = Vec::new();
    let [.., ASTNode::Expr(parent), ASTNode::Expr(start)] = path else { return found };
    let Some((mut chain, mut ends)) = link(parent) else { return found };
    if !std::ptr::eq(&raw const chain.lhs, *start) {
        return found;
    }
    // Chains lean to the right: `this.a.b` is `this.(a.b)`, and only the last link has the flag.
    while let (Some((next, next_ends)), false) = (link(&chain.rhs), ends) {
        let Some(name) = member(&next.lhs) else { return found };
        found.push(name);
        (chain, ends) = (next, next_ends);
    }
    found.extend(member(&chain.rhs));
    found
}

/// An access to a member, and whether it ends its chain.
fn link(expression: &Expr) -> Option<(&BinaryExpr, bool)> {
    match expression {
        Expr::Dot(link, flags, _) | Expr::Index(link, flags, _) => {
            Some((link, flags.intersects(ASTFlags::BREAK)))
        }
        _ => None,
    }
}

fn member(expression: &Expr) -> Option<&str> {
    match expression {
        Expr::Property(property, _) => Some(property.2.as_str()),
        Expr::StringConstant(name, _) => Some(name.as_str()),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "these are tests")]
mod tests {
    use super::*;

    fn part(text: &str) -> Part {
        let ast = rhai::Engine::new_raw().compile(format!("fn f(x) {{ {text} }}")).unwrap();
        Reads::of(&ast).this
    }

    #[test]
    fn what_the_text_tells_is_read_and_no_more() {
        for (text, paths) in [
            ("this.reported.a + this.reported.b", &["reported/a", "reported/b"][..]),
            ("this.reported.a.b", &["reported/a/b"]),
            ("this.reported[\"a\"].b", &["reported/a/b"]),
            ("this[\"reported\"].a", &["reported/a"]),
            ("this.reported.a[x].b", &["reported/a"]),
            ("this.reported.a.len()", &["reported/a"]),
            ("this.reported?.a", &["reported/a"]),
            ("this.reported[x]", &["reported"]),
            ("this.reported[x.y]", &["reported"]),
            ("this.reported[this.name]", &["reported", "name"]),
            ("(this.reported).a", &["reported/a"]),
            ("this.reported.keys()", &["reported"]),
            ("let r = this.reported; r.a", &["reported"]),
            ("this.state.n += 1", &["state/n"]),
            ("this.state.n = this.reported.a", &["state/n", "reported/a"]),
            ("`${this.name} is`", &["name"]),
            ("let f = |y| this.alerts; f", &["alerts"]),
            ("this.g()", &[""]),
            ("let d = this;", &[""]),
            ("this = 1", &[""]),
            ("f(this)", &[""]),
            ("this[x]", &[""]),
        ] {
            let mut expected = Part::default();
            for path in paths {
                let path: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
                expected.add(&path);
            }
            assert_eq!(part(text), expected, "{text}");
        }
    }
}
