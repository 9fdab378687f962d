//! Single settings: found, of the right kind, and within bounds.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::Reader;

impl Reader<'_> {
    pub(super) fn optional<T: DeserializeOwned>(&mut self, key: &str, wanted: &str) -> Option<T> {
        self.figment.find_value(key).is_ok().then(|| self.read(key, wanted)).flatten()
    }

    pub(super) fn optional_time(&mut self, key: &str, most_s: u64) -> Option<Duration> {
        self.figment.find_value(key).is_ok().then(|| self.time(key, most_s)).flatten()
    }

    /// A time of a second at least and so many seconds at most, with its unit.
    pub(super) fn time(&mut self, key: &str, most_s: u64) -> Option<Duration> {
        let wanted = format!("a time such as 90s, 15m, 2h or 1d, from 1s to {}d", most_s / 86_400);
        let text = self.read::<String>(key, &wanted)?;
        if let Some(seconds) = seconds(&text).filter(|seconds| (1..=most_s).contains(seconds)) {
            return Some(Duration::from_secs(seconds));
        }
        let place = self.place(key);
        self.errors.push(format!("setting `{key}`{place} is `{text}`, not {wanted}"));
        None
    }

    pub(super) fn read<T: DeserializeOwned>(&mut self, key: &str, wanted: &str) -> Option<T> {
        let value = self.figment.extract_inner::<T>(key);
        if value.is_err() {
            let place = self.place(key);
            let found = self.figment.find_value(key).map_or_else(|_| "nothing".to_owned(), shown);
            self.errors.push(format!("setting `{key}`{place} is {found}, not {wanted}"));
        }
        value.ok()
    }

    pub(super) fn number(&mut self, key: &str, most: u16) -> Option<u16> {
        let wanted = format!("a number from 1 to {most}");
        let number = self.read::<u16>(key, &wanted)?;
        if (1..=most).contains(&number) {
            return Some(number);
        }
        let place = self.place(key);
        self.errors.push(format!("setting `{key}`{place} is {number}, not {wanted}"));
        None
    }

    pub(super) fn place(&self, key: &str) -> String {
        match self.figment.find_metadata(key) {
            Some(found) => match &found.source {
                Some(source) => format!(" in {source}"),
                None if found.name.contains("environment") => {
                    format!(" in GNOMON_{}", key.to_uppercase())
                }
                None => String::new(),
            },
            None => String::new(),
        }
    }
}

/// Reads a whole number and its unit: `s`, `m`, `h` or `d`.
fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_s)
}

fn shown(value: figment::value::Value) -> String {
    match value.into_string() {
        Some(text) => format!("`{text}`"),
        None => "of another kind".to_owned(),
    }
}
