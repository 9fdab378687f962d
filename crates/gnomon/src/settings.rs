//! Settings: command line over environment over `gnomon.toml` over defaults.
//!
//! Invariants: an unknown key is an error, and every error is told at once, with where it stands.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::Dict;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Failure;

/// Keys that `gnomon.toml` and `GNOMON_…` may hold.
const KEYS: [&str; 6] = ["mqtt", "http", "data", "rules", "schemas", "partitions"];
/// Variables with the prefix that are no settings.
const NOT_SETTINGS: [&str; 2] = ["log", "config"];

/// What the command line says; everything also as `GNOMON_MQTT` …, and in `gnomon.toml`.
#[derive(Debug, Default, Args, Serialize)]
pub(crate) struct Flags {
    /// Where devices connect [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtt: Option<String>,
    /// Where applications connect [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<String>,
    /// Where everything is kept [default: ./data]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    /// Rules, one file each [default: ./rules]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<String>,
    /// Thing models, one folder a product [default: ./schemas]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    schemas: Option<String>,
    /// Partitions of the uplink, fixed when the data directory is made [default: 4]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<u16>,
    /// Settings file [default: ./gnomon.toml if it exists]
    #[arg(long, value_name = "FILE", env = "GNOMON_CONFIG")]
    #[serde(skip)]
    config: Option<PathBuf>,
}

/// Settings that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Where devices connect.
    pub mqtt: SocketAddr,
    /// Where applications connect.
    pub http: SocketAddr,
    /// Where everything is kept.
    pub data: PathBuf,
    /// Rules, one file each.
    pub rules: PathBuf,
    /// Thing models, one folder a product.
    pub schemas: PathBuf,
    /// Partitions of the uplink, 1 to 1024.
    pub partitions: u16,
}

impl Settings {
    /// Reads all sources.
    pub(crate) fn load(flags: &Flags) -> Result<Self, Failure> {
        let file = flags.config.clone().unwrap_or_else(|| PathBuf::from("gnomon.toml"));
        if flags.config.is_some() && !file.is_file() {
            return Err(Failure::new(format!("settings file {} does not exist", file.display())));
        }
        let environment = Env::prefixed("GNOMON_").ignore(&NOT_SETTINGS);
        let mut figment = Figment::new()
            .merge(Serialized::default("mqtt", "127.0.0.1:1883"))
            .merge(Serialized::default("http", "127.0.0.1:8080"))
            .merge(Serialized::default("data", "./data"))
            .merge(Serialized::default("rules", "./rules"))
            .merge(Serialized::default("schemas", "./schemas"))
            .merge(Serialized::default("partitions", 4));
        if file.is_file() {
            figment = figment.merge(Toml::file_exact(file));
        }
        let figment = figment.merge(environment).merge(Serialized::defaults(flags));
        Self::extract(&figment)
    }

    fn extract(figment: &Figment) -> Result<Self, Failure> {
        let mut reader = Reader { figment, errors: Vec::new() };
        reader.refuse_unknown();
        let settings = (
            reader.read::<SocketAddr>("mqtt", "an address such as 127.0.0.1:1883"),
            reader.read::<SocketAddr>("http", "an address such as 127.0.0.1:8080"),
            reader.read::<PathBuf>("data", "a directory"),
            reader.read::<PathBuf>("rules", "a directory"),
            reader.read::<PathBuf>("schemas", "a directory"),
            reader.partitions(),
        );
        match settings {
            (Some(mqtt), Some(http), Some(data), Some(rules), Some(schemas), Some(partitions))
                if reader.errors.is_empty() =>
            {
                Ok(Self { mqtt, http, data, rules, schemas, partitions })
            }
            _ => Err(Failure(reader.errors)),
        }
    }
}

struct Reader<'a> {
    figment: &'a Figment,
    errors: Vec<String>,
}

impl Reader<'_> {
    fn refuse_unknown(&mut self) {
        match self.figment.extract::<Dict>() {
            Ok(all) => {
                for key in all.keys().filter(|key| !KEYS.contains(&key.as_str())) {
                    let place = self.place(key);
                    let known = KEYS.join(", ");
                    self.errors
                        .push(format!("setting `{key}`{place} is unknown: known are {known}"));
                }
            }
            Err(error) => self.errors.extend(error.into_iter().map(|one| one.to_string())),
        }
    }

    fn read<T: DeserializeOwned>(&mut self, key: &str, wanted: &str) -> Option<T> {
        let value = self.figment.extract_inner::<T>(key);
        if value.is_err() {
            let place = self.place(key);
            let found = self.figment.find_value(key).map_or_else(|_| "nothing".to_owned(), shown);
            self.errors.push(format!("setting `{key}`{place} is {found}, not {wanted}"));
        }
        value.ok()
    }

    fn partitions(&mut self) -> Option<u16> {
        let wanted = "a number from 1 to 1024";
        let partitions = self.read::<u16>("partitions", wanted)?;
        if (1..=1024).contains(&partitions) {
            return Some(partitions);
        }
        let place = self.place("partitions");
        self.errors.push(format!("setting `partitions`{place} is {partitions}, not {wanted}"));
        None
    }

    fn place(&self, key: &str) -> String {
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

fn shown(value: figment::value::Value) -> String {
    match value.into_string() {
        Some(text) => format!("`{text}`"),
        None => "of another kind".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str) -> Result<Settings, Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), toml).unwrap();
        Settings::load(&Flags { config: Some(file.path().to_owned()), ..Flags::default() })
    }

    #[test]
    fn a_file_overrides_the_defaults() {
        let settings = load("http = \"127.0.0.1:9\"\npartitions = 8").unwrap();
        assert_eq!(settings.http.port(), 9);
        assert_eq!(settings.mqtt.port(), 1883);
        assert_eq!(settings.partitions, 8);
    }

    #[test]
    fn every_error_is_told_at_once() {
        let Failure(lines) = load("htpp = 1\nmqtt = \"here\"\npartitions = 0").unwrap_err();
        assert_eq!(lines.len(), 3, "{lines:#?}");
        for part in ["`htpp`", "`mqtt`", "`partitions`"] {
            assert!(lines.iter().any(|line| line.contains(part)), "{part} in {lines:#?}");
        }
    }
}
