//! What stands on the server: every stream and bucket as data, made or verified at start.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{Context, kv};
use gnomon_host::port::{Log, Stream};

use super::connect::NatsOpenError;
use super::{NatsOptions, subject, whole};
use crate::bounds::{LogBounds, Retention};

/// Number of the layout of streams, subjects and acknowledgements.
const FORMAT: &str = "1";
/// How long the server knows a message by its id: longer than any publisher tries again.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(600);

/// A worker that says nothing for so long is gone.
const MISSED_AFTER: Duration = Duration::from_secs(4);

/// Every log of a deployment.
fn logs(partitions: u16) -> impl Iterator<Item = Log> {
    Stream::ALL.into_iter().flat_map(move |stream| {
        let count = match stream {
            Stream::Telemetry | Stream::Shadow | Stream::Calls | Stream::Alerts => partitions,
            Stream::Downlink | Stream::Answers | Stream::Dead => 1,
        };
        (0..count).map(move |partition| Log { stream, partition })
    })
}

/// The stream that a log needs.
fn wanted(options: &NatsOptions, log: Log) -> Config {
    let bounds = options.bounds.of(log.stream);
    let (discard, messages, bytes) = limits(&bounds);
    let metadata = [
        ("gnomon-format", FORMAT.to_owned()),
        ("gnomon-partitions", options.partitions.to_string()),
    ];
    Config {
        name: subject::stream(&options.namespace, log),
        subjects: vec![subject::all(&options.namespace, log)],
        description: Some(format!("Gnomon: log {log}")),
        retention: RetentionPolicy::Limits,
        discard,
        max_messages: messages,
        max_bytes: bytes,
        duplicate_window: DUPLICATE_WINDOW,
        storage: StorageType::File,
        num_replicas: options.replicas,
        allow_direct: true,
        metadata: metadata.map(|(key, value)| (key.to_owned(), value)).into(),
        ..Config::default()
    }
}

/// What the server does at a bound, and both bounds; -1 for none. What is pending and what is kept
/// share them, since the server does not know what is acknowledged.
fn limits(bounds: &LogBounds) -> (DiscardPolicy, i64, i64) {
    let most = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let and_some = |kept: u64| kept.saturating_add(kept / 16 + 1);
    match bounds.retention {
        Retention::Acknowledged => (
            DiscardPolicy::New,
            // A sixteenth more may stay for a while before it is purged.
            most(bounds.pending_messages_max.saturating_add(and_some(bounds.kept_messages))),
            most(bounds.pending_bytes_max.saturating_add(and_some(bounds.kept_bytes))),
        ),
        Retention::Oldest => {
            (DiscardPolicy::Old, most(bounds.kept_messages), most(bounds.kept_bytes))
        }
    }
}

/// Makes or verifies all streams.
pub(super) async fn prepare(context: &Context, options: &NatsOptions) -> Result<(), NatsOpenError> {
    for log in logs(options.partitions) {
        let wanted = wanted(options, log);
        let fault = |reason: String| NatsOpenError::Stream { stream: wanted.name.clone(), reason };
        let made = context.get_or_create_stream(wanted.clone()).await;
        let made = made.map_err(|error| fault(format!("make it: {}", whole(&error))))?;
        let mut found = made.cached_info().config.clone();
        about(&found.metadata, options).map_err(fault)?;
        if !differences(&wanted, &found).is_empty() {
            // Limits were configured anew: the server is told, and what it makes of them is checked.
            let updated = context.update_stream(&wanted).await;
            let updated =
                updated.map_err(|error| fault(format!("change it: {}", whole(&error))))?;
            found = updated.config;
        }
        let left = differences(&wanted, &found);
        if !left.is_empty() {
            return Err(fault(format!("the server did not take {}", left.join(", "))));
        }
    }
    let beyond = Log { stream: Stream::Telemetry, partition: options.partitions };
    let beyond = subject::stream(&options.namespace, beyond);
    if context.get_stream(&beyond).await.is_ok() {
        let reason = format!(
            "it belongs to more than the {} partitions asked for: configure the count that the streams were made with",
            options.partitions
        );
        return Err(NatsOpenError::Stream { stream: beyond, reason });
    }
    Ok(())
}

/// Whether another build or another partition count made a stream.
fn about(metadata: &HashMap<String, String>, options: &NatsOptions) -> Result<(), String> {
    let found = |key: &str| metadata.get(key).cloned().unwrap_or_else(|| "none".to_owned());
    let (format, partitions) = (found("gnomon-format"), found("gnomon-partitions"));
    if format != FORMAT {
        return Err(format!(
            "it has format {format}, this build reads {FORMAT}: use the build that made it, or another namespace"
        ));
    }
    if partitions != options.partitions.to_string() {
        let asked = options.partitions;
        return Err(format!(
            "it was made with {partitions} partitions, not {asked}: configure {partitions}, or another namespace"
        ));
    }
    Ok(())
}

/// Settings in which a stream is not as wanted: servers drop what they do not know in silence.
fn differences(wanted: &Config, found: &Config) -> Vec<String> {
    let mut different = Vec::new();
    let mut compare = |name: &str, wanted: String, found: String| {
        if wanted != found {
            different.push(format!("{name} {wanted} (it has {found})"));
        }
    };
    let text = |value: &dyn std::fmt::Debug| format!("{value:?}");
    compare("subjects", text(&wanted.subjects), text(&found.subjects));
    compare("retention", text(&wanted.retention), text(&found.retention));
    compare("discard", text(&wanted.discard), text(&found.discard));
    compare("max_messages", text(&wanted.max_messages), text(&found.max_messages));
    compare("max_bytes", text(&wanted.max_bytes), text(&found.max_bytes));
    compare("max_age", text(&wanted.max_age), text(&found.max_age));
    compare("duplicate_window", text(&wanted.duplicate_window), text(&found.duplicate_window));
    compare("storage", text(&wanted.storage), text(&found.storage));
    compare("num_replicas", text(&wanted.num_replicas), text(&found.num_replicas));
    different
}

/// The bucket of acknowledgements.
pub(super) async fn acks_bucket(
    context: &Context,
    options: &NatsOptions,
) -> Result<kv::Store, NatsOpenError> {
    let config = kv::Config {
        bucket: subject::acks_bucket(&options.namespace),
        description: "Gnomon: what is acknowledged of each log".to_owned(),
        num_replicas: options.replicas,
        ..kv::Config::default()
    };
    bucket(context, config).await
}

/// The bucket of workers: an entry that is not renewed is gone.
pub(super) async fn workers_bucket(
    context: &Context,
    options: &NatsOptions,
) -> Result<kv::Store, NatsOpenError> {
    let config = kv::Config {
        bucket: subject::workers_bucket(&options.namespace),
        description: "Gnomon: workers that are there".to_owned(),
        max_age: MISSED_AFTER,
        num_replicas: options.replicas,
        ..kv::Config::default()
    };
    bucket(context, config).await
}

async fn bucket(context: &Context, config: kv::Config) -> Result<kv::Store, NatsOpenError> {
    if let Ok(found) = context.get_key_value(&config.bucket).await {
        return Ok(found);
    }
    let stream = config.bucket.clone();
    let config = kv::Config { history: 1, storage: StorageType::File, ..config };
    let made = context.create_key_value(config).await;
    made.map_err(|error| NatsOpenError::Stream {
        stream,
        reason: format!("make it: {}", whole(&error)),
    })
}
