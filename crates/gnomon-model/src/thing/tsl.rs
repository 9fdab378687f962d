//! Reads thing models in Alibaba's TSL format.
//!
//! Invariants: all files are read to their end, so that all problems are told at once; the result
//! does not depend on the order of the files, except for which of two duplicates is told.
//! See: `wire/alibaba.md` 5.1, 5.2, 5.4.

use std::collections::{BTreeMap, BTreeSet};

use super::data_type::{Members, quoted};
use super::node::{Node, Problems};
use super::specs::{at_most, data_type, identifier, is_word, members};
use super::{Access, CallType, Event, EventSeverity, ModelProblem, Property, Service, ThingModel};
use crate::{ProductKey, json};

/// Most function blocks of a product, each one file or more.
const FILES_MAX: usize = 200;
/// Longest file in bytes.
const FILE_BYTES_MAX: usize = 512 * 1024;
/// Longest name of a function block, in characters, which are bytes.
const BLOCK_LENGTH_MAX: usize = 30;
/// Most properties, events and services of a function block together.
const FUNCTIONS_MAX: usize = 300;
/// Most inputs and outputs of all events and services of a function block together.
const PARAMETERS_MAX: usize = 300;
/// Most inputs or outputs of one event or service.
const MEMBERS_MAX: usize = 100;
/// The arrays of a file, at least one of which is there.
const SECTIONS: [&str; 3] = ["properties", "events", "services"];
/// The function block whose name is not written before its identifiers.
const DEFAULT_BLOCK: &str = "default";

pub(super) fn load(
    product: &ProductKey,
    files: &[(String, String)],
) -> Result<ThingModel, Vec<ModelProblem>> {
    if !(1..=FILES_MAX).contains(&files.len()) {
        let count = files.len();
        let reason = format!("product {product} has {count} model files: use 1 to {FILES_MAX}");
        return Err(vec![ModelProblem { file: String::new(), path: String::new(), reason }]);
    }
    let mut draft = Draft::new(product);
    let mut found = Vec::new();
    for (file, text) in files {
        let problems = Problems::new(file);
        draft.read(text, &problems);
        found.append(&mut problems.into_found());
    }
    if found.is_empty() { Ok(draft.model) } else { Err(found) }
}

/// A model of which some files are read.
struct Draft {
    model: ThingModel,
    /// Where each identifier stands: properties, events and services share one space of names.
    places: BTreeMap<String, String>,
    /// What each function block holds so far.
    blocks: BTreeMap<String, Counts>,
}

#[derive(Default)]
struct Counts {
    functions: usize,
    parameters: usize,
}

impl Draft {
    fn new(product: &ProductKey) -> Self {
        let model = ThingModel {
            product: product.clone(),
            properties: BTreeMap::new(),
            events: BTreeMap::new(),
            services: BTreeMap::new(),
        };
        Self { model, places: BTreeMap::new(), blocks: BTreeMap::new() }
    }

    fn read(&mut self, text: &str, problems: &Problems) {
        if text.len() > FILE_BYTES_MAX {
            problems.tell("", format!("file of {} bytes, at most {FILE_BYTES_MAX}", text.len()));
            return;
        }
        match json::parse(text.as_bytes()) {
            Ok(value) => self.read_file(&Node::root(&value, problems)),
            Err(reject) => problems.tell("", reject.reason.replacen("payload", "file", 1)),
        }
    }

    fn read_file(&mut self, file: &Node) {
        let Some(object) = file.object() else { return };
        if !SECTIONS.iter().any(|section| object.contains_key(*section)) {
            file.tell(format!("none of {} is here: not a thing model", SECTIONS.join(", ")));
        }
        check_product(file, &self.model.product);
        let block = block(file);
        for property in section(file, "properties") {
            self.read_property(&property, block);
        }
        for event in section(file, "events").iter().filter(|event| !is_pseudo(event, &["post"])) {
            self.read_event(event, block);
        }
        let services = section(file, "services");
        for service in services.iter().filter(|service| !is_pseudo(service, &["set", "get"])) {
            self.read_service(service, block);
        }
        let counts = self.counts(block);
        at_most(file, &format!("functions in block {block}"), counts.functions, FUNCTIONS_MAX);
        at_most(file, &format!("parameters in block {block}"), counts.parameters, PARAMETERS_MAX);
    }

    fn read_property(&mut self, entry: &Node, block: &str) {
        let identifier = self.claim(entry, block);
        let data_type = entry.required("dataType").and_then(|node| data_type(&node));
        let accesses = [("rw", Access::ReadWrite), ("r", Access::Read), ("w", Access::Write)];
        let access = choice(entry, "accessMode", &accesses);
        if let (Some(identifier), Some(data_type)) = (identifier, data_type) {
            self.model.properties.insert(identifier, Property { access, data_type });
        }
    }

    fn read_event(&mut self, entry: &Node, block: &str) {
        let identifier = self.claim(entry, block);
        let severities = [
            ("info", EventSeverity::Info),
            ("alert", EventSeverity::Alert),
            ("error", EventSeverity::Error),
        ];
        let severity = choice(entry, "type", &severities);
        let outputs = self.parameters(entry, "outputData", block);
        if let Some(identifier) = identifier {
            self.model.events.insert(identifier, Event { severity, outputs });
        }
    }

    fn read_service(&mut self, entry: &Node, block: &str) {
        let identifier = self.claim(entry, block);
        let call_types = [("async", CallType::Async), ("sync", CallType::Sync)];
        let call_type = choice(entry, "callType", &call_types);
        let inputs = self.parameters(entry, "inputData", block);
        let outputs = self.parameters(entry, "outputData", block);
        let required = required(entry);
        if let Some(identifier) = identifier {
            let service = Service { call_type, inputs, required, outputs };
            self.model.services.insert(identifier, service);
        }
    }

    /// Reads and counts inputs or outputs; absent ones are none. What is wrong is told.
    fn parameters(&mut self, entry: &Node, key: &str, block: &str) -> Members {
        let Some(node) = entry.member(key) else { return Members::new() };
        let count = node.value.as_array().map_or(0, Vec::len);
        at_most(&node, "parameters", count, MEMBERS_MAX);
        self.counts(block).parameters += count;
        members(&node).unwrap_or_default()
    }

    /// Reads the identifier of an entry, with its function block, and takes it.
    fn claim(&mut self, entry: &Node, block: &str) -> Option<String> {
        self.counts(block).functions += 1;
        let word = identifier(entry)?;
        let name = if block == DEFAULT_BLOCK { word.to_owned() } else { format!("{block}:{word}") };
        if let Some(place) = self.places.get(&name) {
            entry.tell(format!("identifier `{name}` stands twice, first in {place}"));
            return None;
        }
        self.places.insert(name.clone(), entry.place());
        Some(name)
    }

    fn counts(&mut self, block: &str) -> &mut Counts {
        self.blocks.entry(block.to_owned()).or_default()
    }
}

fn check_product(file: &Node, product: &ProductKey) {
    let profile = file.member("profile");
    let Some(node) = profile.and_then(|profile| profile.member("productKey")) else { return };
    if let Some(key) = node.text().filter(|key| *key != product.as_str()) {
        node.tell(format!("{} is not the product {product}", quoted(key)));
    }
}

fn block<'a>(file: &Node<'a>) -> &'a str {
    let Some(node) = file.member("functionBlockId") else { return DEFAULT_BLOCK };
    let Some(name) = node.text() else { return DEFAULT_BLOCK };
    if is_word(name, BLOCK_LENGTH_MAX) {
        return name;
    }
    node.tell(format!("{} is not a function block: use 1 to 30 of A-Z a-z 0-9 _", quoted(name)));
    DEFAULT_BLOCK
}

fn section<'a>(file: &Node<'a>, key: &str) -> Vec<Node<'a>> {
    file.member(key).map(|section| section.objects()).unwrap_or_default()
}

/// Whether the entry is generated from the properties, and so no function of the user.
fn is_pseudo(entry: &Node, names: &[&str]) -> bool {
    let identifier = entry.value.get("identifier").and_then(|identifier| identifier.as_str());
    identifier.is_some_and(|identifier| names.contains(&identifier))
}

/// Reads one of the words; the first where absent or wrong, and then told.
fn choice<T: Copy>(entry: &Node, key: &str, choices: &[(&str, T)]) -> T {
    let default = choices[0].1;
    let Some(node) = entry.member(key) else { return default };
    let Some(text) = node.text() else { return default };
    if let Some((_, chosen)) = choices.iter().find(|(word, _)| *word == text) {
        return *chosen;
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    node.tell(format!("{} is none of {}", quoted(text), words.join(", ")));
    default
}

/// The inputs that do not say `"required": false`. Entries that are wrong are told by [`members`].
fn required(service: &Node) -> BTreeSet<String> {
    let inputs = service.member("inputData").filter(|inputs| inputs.value.is_array());
    let mut required = BTreeSet::new();
    for input in inputs.iter().flat_map(Node::items) {
        let optional = input.member("required").and_then(|node| node.truth()) == Some(false);
        let identifier = input.value.get("identifier").and_then(|identifier| identifier.as_str());
        required.extend(identifier.filter(|_| !optional).map(str::to_owned));
    }
    required
}
