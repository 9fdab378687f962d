//! Reads the `dataType` of a TSL file.
//!
//! Never: a struct or an array inside a struct, an array inside an array.
//! See: `wire/alibaba.md` 5.1, 5.3.

use std::collections::{BTreeMap, BTreeSet};

use super::data_type::{DataType, Members, Range, TEXT_BYTES_MAX, plain, quoted};
use super::node::Node;

/// Most members of a struct.
const MEMBERS_MAX: usize = 50;
/// Most keys of an enum.
const KEYS_MAX: usize = 100;
/// Most items of an array.
const ITEMS_MAX: usize = 512;
/// Longest identifier, in characters, which are bytes.
const IDENTIFIER_LENGTH_MAX: usize = 50;
/// Words that Alink itself uses where an identifier could stand, as in `{"value":1,"time":2}`.
const RESERVED: [&str; 7] = ["set", "get", "post", "property", "event", "time", "value"];
/// The largest double that rounds to a finite 32-bit float, next below 2^128 - 2^103. Not
/// `f32::MAX`: firmware prints that one as 3.4028235e38, which a double reads as a little more.
const FLOAT_MAX: f64 = 340_282_356_779_733_661_637_539_395_458_142_568_448.0_f64.next_down();

/// Where a data type stands, which decides what it may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Of a property, an input or an output.
    Outer,
    /// Of the items of an array.
    Item,
    /// Of a member of a struct.
    Member,
}

/// Reads the data type of a property, an input or an output.
pub(super) fn data_type(node: &Node) -> Option<DataType> {
    typed(node, Place::Outer)
}

/// Reads an array of members with `identifier` and `dataType`.
pub(super) fn members(node: &Node) -> Option<Members> {
    typed_members(node, Place::Outer)
}

/// Reads an `identifier` without its function block.
pub(super) fn identifier<'a>(entry: &Node<'a>) -> Option<&'a str> {
    let node = entry.required("identifier")?;
    let text = node.text()?;
    if !is_word(text, IDENTIFIER_LENGTH_MAX) {
        let name = quoted(text);
        node.tell(format!("{name} is not an identifier: use 1 to 50 of A-Z a-z 0-9 _"));
        return None;
    }
    if RESERVED.contains(&text) {
        node.tell(format!("`{text}` is reserved, as are {}", RESERVED.join(", ")));
        return None;
    }
    Some(text)
}

/// Whether the text is 1 to `length_max` of `A-Z a-z 0-9 _`.
pub(super) fn is_word(text: &str, length_max: usize) -> bool {
    (1..=length_max).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Tells if there are more entries than allowed.
pub(super) fn at_most(node: &Node, noun: &str, count: usize, max: usize) {
    if count > max {
        node.tell(format!("{count} {noun}, at most {max}"));
    }
}

fn typed(node: &Node, place: Place) -> Option<DataType> {
    let word_node = node.required("type")?;
    let word = word_node.text()?;
    if let Some(refusal) = refusal(word, place) {
        word_node.tell(refusal);
        return None;
    }
    match word {
        "int" => whole_range(node).map(DataType::Int),
        "float" => range(node, word, (-FLOAT_MAX, FLOAT_MAX)).map(DataType::Float),
        "double" => range(node, word, (f64::MIN, f64::MAX)).map(DataType::Double),
        "bool" => bool_type(node),
        "enum" => enum_type(node),
        "text" => text_type(node),
        "date" => Some(DataType::Date),
        "struct" => struct_type(node),
        "array" => array_type(node),
        other => {
            word_node.tell(format!(
                "unknown type {}: use int, float, double, bool, enum, text, date, struct or array",
                quoted(other)
            ));
            None
        }
    }
}

fn refusal(word: &str, place: Place) -> Option<String> {
    let (inner, outer) = match (place, word) {
        (Place::Item, "array") => ("an array", "an array"),
        (Place::Member, "array") => ("an array", "a struct"),
        (Place::Member, "struct") => ("a struct", "a struct"),
        (Place::Item, "bool" | "enum" | "date") => {
            return Some(format!("no array of {word}: use int, float, double, text or struct"));
        }
        (Place::Outer | Place::Item | Place::Member, _) => return None,
    };
    Some(format!("nested too deep: {inner} cannot stand in {outer}"))
}

/// A spec that is there and not an empty text.
fn spec<'a>(node: &Node<'a>, key: &str) -> Option<Node<'a>> {
    let spec = node.member("specs")?.member(key)?;
    (spec.value.as_str() != Some("")).then_some(spec)
}

/// Tells if there are specs which are no object; absent ones mean the widest limits.
fn check_specs(node: &Node) -> Option<()> {
    match node.member("specs") {
        Some(specs) => specs.object().map(|_| ()),
        None => Some(()),
    }
}

fn whole_range(node: &Node) -> Option<Range> {
    let range = range(node, "int", (f64::from(i32::MIN), f64::from(i32::MAX)))?;
    let broken = |key: &str, limit: f64| spec(node, key).filter(|_| limit.fract() != 0.0);
    let misfits = [broken("min", range.min), broken("max", range.max)];
    for misfit in misfits.iter().flatten() {
        misfit.tell("an int has whole limits");
    }
    misfits.iter().all(Option::is_none).then_some(range)
}

/// Reads limits, which are `widest` where absent and never beyond.
fn range(node: &Node, word: &str, widest: (f64, f64)) -> Option<Range> {
    check_specs(node)?;
    let limit = |key: &str, default: f64| match spec(node, key) {
        Some(spec) => limit(&spec, word, widest),
        None => Some(default),
    };
    let (min, max, step) = (limit("min", widest.0), limit("max", widest.1), step(node));
    let (min, max, step) = (min?, max?, step?);
    if min > max {
        let told = spec(node, "min").or_else(|| spec(node, "max"))?;
        told.tell(format!("minimum {} is above maximum {}", plain(min), plain(max)));
        return None;
    }
    Some(Range { min, max, step, unit: unit(node) })
}

fn limit(spec: &Node, word: &str, (lowest, highest): (f64, f64)) -> Option<f64> {
    let limit = spec.number()?;
    if !(lowest..=highest).contains(&limit) {
        spec.tell(format!("{} is beyond what type {word} holds", plain(limit)));
        return None;
    }
    Some(limit)
}

/// Outer none: told; inner none: absent.
fn step(node: &Node) -> Option<Option<f64>> {
    let Some(spec) = spec(node, "step") else { return Some(None) };
    let step = spec.number()?;
    if step <= 0.0 {
        spec.tell(format!("step {} is not above 0", plain(step)));
        return None;
    }
    Some(Some(step))
}

fn unit(node: &Node) -> Option<String> {
    spec(node, "unit")?.text().map(str::to_owned)
}

fn bool_type(node: &Node) -> Option<DataType> {
    check_specs(node)?;
    let mut fits = true;
    for (key, name) in node.member("specs").iter().flat_map(Node::members) {
        if !matches!(key, "0" | "1") {
            name.tell("a bool has the keys 0 and 1 only");
            fits = false;
        }
        fits &= name.text().is_some();
    }
    fits.then_some(DataType::Bool)
}

fn enum_type(node: &Node) -> Option<DataType> {
    let specs = node.required("specs")?;
    let entries = specs.members();
    if entries.is_empty() && specs.object()?.is_empty() {
        specs.tell("an enum needs at least one key");
    }
    at_most(&specs, "keys", entries.len(), KEYS_MAX);
    let count = entries.len();
    let mut names = BTreeMap::new();
    for (key, name) in entries {
        if let Some((key, name)) = enum_entry(key, &name, &names) {
            names.insert(key, name);
        }
    }
    (count > 0 && names.len() == count).then_some(DataType::Enum(names))
}

fn enum_entry(key: &str, name: &Node, names: &BTreeMap<i32, String>) -> Option<(i32, String)> {
    let text = name.text();
    let integer = key.parse::<i32>().ok().filter(|integer| integer.to_string() == key);
    if integer.is_none() {
        name.tell(format!("key {} is not a 32-bit integer in plain decimal form", quoted(key)));
    }
    let (integer, text) = (integer?, text?);
    if let Some((other, _)) = names.iter().find(|(_, other)| *other == text) {
        name.tell(format!("name {} stands for key {other} too", quoted(text)));
        return None;
    }
    Some((integer, text.to_owned()))
}

fn text_type(node: &Node) -> Option<DataType> {
    check_specs(node)?;
    let length_max = match spec(node, "length") {
        Some(length) => length.count(TEXT_BYTES_MAX)?,
        None => TEXT_BYTES_MAX,
    };
    Some(DataType::Text { length_max })
}

fn struct_type(node: &Node) -> Option<DataType> {
    let specs = node.required("specs")?;
    at_most(&specs, "members", specs.value.as_array().map_or(0, Vec::len), MEMBERS_MAX);
    typed_members(&specs, Place::Member).map(DataType::Struct)
}

fn array_type(node: &Node) -> Option<DataType> {
    let specs = node.required("specs")?;
    let item = specs.required("item").and_then(|item| typed(&item, Place::Item));
    let size_max = match spec(node, "size") {
        Some(size) => size.count(ITEMS_MAX),
        None => Some(ITEMS_MAX),
    };
    Some(DataType::Array { size_max: size_max?, item: Box::new(item?) })
}

fn typed_members(node: &Node, place: Place) -> Option<Members> {
    let count = node.value.as_array().map(Vec::len);
    let mut seen = BTreeSet::new();
    let mut members = Members::new();
    for member in node.objects() {
        let identifier = identifier(&member);
        if let Some(twice) = identifier.filter(|name| !seen.insert(*name)) {
            member.tell(format!("identifier `{twice}` stands twice"));
        }
        let data_type = member.required("dataType").and_then(|node| typed(&node, place));
        if let (Some(identifier), Some(data_type)) = (identifier, data_type) {
            members.insert(identifier.to_owned(), data_type);
        }
    }
    (Some(members.len()) == count).then_some(members)
}
