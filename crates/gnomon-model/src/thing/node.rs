//! A JSON value that knows where it stands, so that what is wrong with it can be told.
//!
//! Invariants: a reader that returns `None` has told the problem, except [`Node::member`].

use std::cell::RefCell;

use serde_json::Value;

use super::data_type::quoted;
use super::problem::ModelProblem;
use crate::{Object, json};

/// Collects the problems of one file.
#[derive(Debug)]
pub(super) struct Problems<'a> {
    file: &'a str,
    found: RefCell<Vec<ModelProblem>>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(file: &'a str) -> Self {
        Self { file, found: RefCell::default() }
    }

    pub(super) fn tell(&self, path: &str, reason: impl Into<String>) {
        let (file, path) = (self.file.to_owned(), path.to_owned());
        self.found.borrow_mut().push(ModelProblem { file, path, reason: reason.into() });
    }

    pub(super) fn into_found(self) -> Vec<ModelProblem> {
        self.found.into_inner()
    }
}

/// A value of a file.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) value: &'a Value,
    pub(super) path: String,
    problems: &'a Problems<'a>,
}

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Value, problems: &'a Problems<'a>) -> Self {
        Self { value, path: String::new(), problems }
    }

    /// Tells a problem of this value.
    pub(super) fn tell(&self, reason: impl Into<String>) {
        self.problems.tell(&self.path, reason);
    }

    /// File and path, for people.
    pub(super) fn place(&self) -> String {
        format!("{} {}", self.problems.file, self.path)
    }

    /// The member of an object, if there is one.
    pub(super) fn member(&self, key: &str) -> Option<Node<'a>> {
        self.value.get(key).map(|value| self.below(key, value))
    }

    /// The member of an object that must be there.
    pub(super) fn required(&self, key: &str) -> Option<Node<'a>> {
        let member = self.object().map(|_| self.member(key))?;
        if member.is_none() {
            self.problems.tell(&format!("{}/{key}", self.path), format!("`{key}` is missing"));
        }
        member
    }

    pub(super) fn object(&self) -> Option<&'a Object> {
        self.expect(self.value.as_object(), "an object")
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        self.expect(self.value.as_str(), "a text")
    }

    pub(super) fn truth(&self) -> Option<bool> {
        self.expect(self.value.as_bool(), "true or false")
    }

    /// The members of an object, each with its key.
    pub(super) fn members(&self) -> Vec<(&'a str, Node<'a>)> {
        let object = self.object().into_iter().flatten();
        object.map(|(key, value)| (key.as_str(), self.below(key, value))).collect()
    }

    /// The items of an array.
    pub(super) fn items(&self) -> Vec<Node<'a>> {
        let array = self.expect(self.value.as_array(), "an array").into_iter().flatten();
        array.enumerate().map(|(index, value)| self.below(&index.to_string(), value)).collect()
    }

    /// The items of an array that are objects; the others are told.
    pub(super) fn objects(&self) -> Vec<Node<'a>> {
        let mut items = self.items();
        items.retain(|item| item.object().is_some());
        items
    }

    /// A number, or a text that holds one, as exported files do.
    pub(super) fn number(&self) -> Option<f64> {
        let number = match self.value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let finite = number.filter(|number| number.is_finite());
        if let (None, Value::String(text)) = (finite, self.value) {
            self.tell(format!("{} is not a number", quoted(text)));
            return None;
        }
        self.expect(finite, "a number")
    }

    /// A whole number of at least 1 and at most `max`.
    pub(super) fn count(&self, max: usize) -> Option<usize> {
        let number = self.number()?;
        if number.fract() == 0.0 && number >= 1.0 && number <= max as f64 {
            return Some(number as usize);
        }
        self.tell(format!("{number:?} is not a whole number from 1 to {max}"));
        None
    }

    fn below(&self, key: &str, value: &'a Value) -> Node<'a> {
        let key = key.replace('~', "~0").replace('/', "~1");
        Node { value, path: format!("{}/{key}", self.path), problems: self.problems }
    }

    fn expect<T>(&self, read: Option<T>, what: &str) -> Option<T> {
        if read.is_none() {
            self.tell(format!("{} stands where {what} is expected", json::kind(self.value)));
        }
        read
    }
}
