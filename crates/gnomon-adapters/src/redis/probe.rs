//! What the server does to keep what it was told, and what a power cut would cost.

use gnomon_host::port::Promise;
use redis::Value;

use super::connection::Connection;

/// Settings of the server as far as it tells them; `unknown` where it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durability {
    /// Version of the server.
    pub version: String,
    /// `appendonly`: whether writes are logged at all.
    pub appendonly: String,
    /// `appendfsync`: `always`, `everysec` or `no`.
    pub appendfsync: String,
    /// `maxmemory-policy`: what is thrown away when memory is short.
    pub policy: String,
    /// `maxmemory` in bytes; 0 for no bound.
    pub maxmemory: String,
    /// Replicas that are connected.
    pub replicas: String,
}

impl Durability {
    /// What a power cut of the server's machine may cost, in one line.
    #[must_use]
    pub fn cost(&self) -> String {
        let lost = match (self.appendonly.as_str(), self.appendfsync.as_str()) {
            ("yes", "always") => "no acknowledged write",
            ("yes", "everysec") => "up to two seconds of writes (appendfsync everysec)",
            ("yes", _) => "up to half a minute of writes (appendfsync no)",
            ("no", _) => "every write since the last snapshot (appendonly no)",
            _ => "an unknown amount: the server does not tell its settings",
        };
        format!("a power cut costs {lost}; `gnomon rebuild` re-creates the store from the stream")
    }

    /// The same as the port tells it.
    pub(super) fn promise(&self) -> Promise {
        let setting = |(name, value): (&str, &String)| {
            let value = if value == "unknown" { "not visible" } else { value };
            (name.to_owned(), value.to_owned())
        };
        let settings = [
            ("appendonly", &self.appendonly),
            ("appendfsync", &self.appendfsync),
            ("maxmemory-policy", &self.policy),
            ("maxmemory", &self.maxmemory),
            ("replicas", &self.replicas),
        ];
        Promise {
            server: format!("Redis {}", self.version),
            settings: settings.map(setting).into(),
            power_cut: self.cost(),
            weak: !matches!(
                (self.appendonly.as_str(), self.appendfsync.as_str()),
                ("yes", "always" | "everysec")
            ),
        }
    }

    /// Policy and bound, if keys without an expiry may be thrown away.
    pub(super) fn evicts(&self) -> Option<(String, String)> {
        let evicts = self.policy.starts_with("allkeys") && self.maxmemory != "0";
        evicts.then(|| (self.policy.clone(), self.maxmemory.clone()))
    }
}

/// Asks the server; what it does not tell is `unknown`.
pub(super) async fn read(connection: &Connection) -> redis::RedisResult<Durability> {
    let mut info = redis::cmd("INFO");
    info.arg("everything");
    // Answers even to a user who may ask for nothing else: a failure is one of the connection.
    connection.ask(vec![redis::cmd("PING")]).await?;
    let info = text(connection.ask(vec![info]).await.unwrap_or_default().pop());
    let line = |name: &str| {
        let found = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.unwrap_or("unknown").trim().to_owned()
    };
    Ok(Durability {
        version: line("redis_version"),
        appendonly: setting(connection, "appendonly").await,
        appendfsync: setting(connection, "appendfsync").await,
        policy: match line("maxmemory_policy").as_str() {
            "unknown" => setting(connection, "maxmemory-policy").await,
            policy => policy.to_owned(),
        },
        maxmemory: line("maxmemory"),
        replicas: line("connected_slaves"),
    })
}

async fn setting(connection: &Connection, name: &str) -> String {
    let mut ask = redis::cmd("CONFIG");
    ask.arg("GET").arg(name);
    // Managed servers refuse CONFIG.
    let Ok(answers) = connection.ask(vec![ask]).await else { return "unknown".to_owned() };
    let pairs: Vec<String> = answers
        .into_iter()
        .next()
        .and_then(|one| redis::from_redis_value(one).ok())
        .unwrap_or_default();
    pairs.get(1).cloned().unwrap_or_else(|| "unknown".to_owned())
}

/// The text of an answer; on a cluster, that of the first node.
fn text(value: Option<Value>) -> String {
    match value {
        Some(Value::Map(nodes)) => nodes.into_iter().next().map(|(_, one)| text(Some(one))),
        Some(value) => redis::from_redis_value(value).ok(),
        None => None,
    }
    .unwrap_or_default()
}
