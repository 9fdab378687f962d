//! Which rules of a product something wakes, without a look at the others.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use gnomon_model::{Object, ThingModel};

use crate::compile::{Rule, WAKES};

/// Place of `on_report` in [`WAKES`].
const REPORT: usize = 0;

/// Rules of one product, as ascending places in the list of all rules.
#[derive(Default)]
pub(crate) struct ByProduct {
    by_wake: [Vec<usize>; WAKES.len()],
    /// Rules that a report wakes, by each name that they read.
    by_name: HashMap<String, Vec<usize>>,
    /// Rules that a report wakes and that read in a way that their text does not tell.
    wide: Vec<usize>,
    /// What follows from the last model.
    always: RwLock<Always>,
}

/// Rules that any report wakes: they read no property by name.
#[derive(Default, Clone)]
struct Always {
    /// Properties of the model from which it follows, sorted.
    properties: Arc<[String]>,
    places: Arc<[usize]>,
}

/// Sorts rules by their product.
pub(crate) fn by_product<'r>(rules: impl Iterator<Item = &'r Rule>) -> HashMap<String, ByProduct> {
    let mut index: HashMap<String, ByProduct> = HashMap::new();
    for (place, rule) in rules.enumerate() {
        index.entry(rule.product.clone()).or_default().add(place, rule);
    }
    // Before the first model is seen there are no properties.
    index.values_mut().for_each(|one| one.always = RwLock::new(one.always_without([].into())));
    index
}

impl ByProduct {
    fn add(&mut self, place: usize, rule: &Rule) {
        for wake in rule.wakes.keys() {
            self.by_wake[*wake].push(place);
        }
        if rule.wakes.contains_key(&REPORT) {
            for name in &rule.reads.names {
                self.by_name.entry(name.clone()).or_default().push(place);
            }
            if rule.reads.anything {
                self.wide.push(place);
            }
        }
    }

    /// Rules that a wake other than a report wakes.
    pub(crate) fn woken(&self, wake: usize) -> Cow<'_, [usize]> {
        self.by_wake[wake].as_slice().into()
    }

    /// Rules to which a report of these values can matter: they read one of them, or in a way that
    /// their text does not tell, or no property by name.
    pub(crate) fn woken_by_report(&self, values: &Object, model: &ThingModel) -> Cow<'_, [usize]> {
        if self.by_wake[REPORT].is_empty() {
            return Cow::default();
        }
        let mut woken = self.always(model).to_vec();
        woken.extend_from_slice(&self.wide);
        let read = values.keys().filter_map(|name| self.by_name.get(name));
        read.for_each(|places| woken.extend_from_slice(places));
        woken.sort_unstable();
        woken.dedup();
        woken.into()
    }

    fn always(&self, model: &ThingModel) -> Arc<[usize]> {
        let properties = model.properties().keys();
        let last = self.always.read().unwrap_or_else(PoisonError::into_inner).clone();
        if properties.clone().eq(last.properties.iter()) {
            return last.places;
        }
        let always = self.always_without(properties.cloned().collect());
        let places = always.places.clone();
        *self.always.write().unwrap_or_else(PoisonError::into_inner) = always;
        places
    }

    fn always_without(&self, properties: Arc<[String]>) -> Always {
        let mut reads_by_name = vec![false; self.by_wake[REPORT].last().map_or(0, |last| last + 1)];
        let read = properties.iter().filter_map(|name| self.by_name.get(name)).flatten();
        read.for_each(|place| reads_by_name[*place] = true);
        let all = self.by_wake[REPORT].iter().copied();
        Always { properties, places: all.filter(|place| !reads_by_name[*place]).collect() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "these are tests")]
mod tests {
    use gnomon_model::ProductKey;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::compile::compile;
    use crate::engine::Machine;
    use crate::{Limits, RuleSource};

    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

    fn model(properties: &[&str]) -> ThingModel {
        let product = ProductKey::parse("p").unwrap();
        let property = |name: &&str| {
            json!({"identifier": name, "name": name, "accessMode": "r", "required": false,
                   "dataType": {"type": "double", "specs": {"min": "0", "max": "9"}}})
        };
        let properties: Vec<_> = properties.iter().map(property).collect();
        let text = json!({"profile": {"productKey": "p"}, "properties": properties}).to_string();
        ThingModel::load(&product, &[("p.json".to_owned(), text)]).unwrap()
    }

    /// A rule that reads these names, and perhaps whatever comes.
    fn rule(machine: &Machine, number: usize, names: &[&str], wide: bool) -> Rule {
        let reads: String =
            names.iter().map(|name| format!("let x = this.reported.{name};")).collect();
        let wide = if wide { "let x = report.values;" } else { "" };
        let text =
            format!("// It.\nconst PRODUCT = \"p\";\nfn on_report(report) {{ {reads}{wide} }}");
        compile(machine, &RuleSource { file: format!("r{number}.rhai"), text }).unwrap()
    }

    fn some_names() -> impl Strategy<Value = Vec<&'static str>> {
        prop::sample::subsequence(&NAMES[..], 0..=NAMES.len())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The index wakes exactly the rules that a look at each of them would, also when the model
        /// changes under it.
        #[test]
        fn the_index_wakes_whom_a_look_at_every_rule_would(
            rules in prop::collection::vec((some_names(), any::<bool>()), 0..12),
            rounds in prop::collection::vec((some_names(), some_names()), 1..6),
        ) {
            let machine = Machine::new(|| 0, Limits::default());
            let rules: Vec<Rule> = rules
                .iter()
                .enumerate()
                .map(|(number, (names, wide))| rule(&machine, number, names, *wide))
                .collect();
            let index = by_product(rules.iter());
            for (properties, reported) in rounds {
                let model = model(&properties);
                let values: Object =
                    reported.iter().map(|name| ((*name).to_owned(), json!(1))).collect();
                let concerns = |rule: &Rule| {
                    let names = &rule.reads.names;
                    rule.reads.anything
                        || values.keys().any(|name| names.contains(name))
                        || !properties.iter().any(|property| names.contains(*property))
                };
                let expected: Vec<usize> =
                    (0..rules.len()).filter(|place| concerns(&rules[*place])).collect();
                let found = index.get("p").map(|one| one.woken_by_report(&values, &model));
                prop_assert_eq!(found.unwrap_or_default().to_vec(), expected);
            }
        }
    }
}
