//! One connection for all kinds of deployment; it reconnects by itself.

use std::time::Duration;

use futures_util::future::try_join_all;
use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo, RedisResult,
    TlsCertificates, TlsMode, Value,
};
use tokio::sync::Mutex;

use super::{RedisOpenError, RedisOptions};

/// Longest wait for an answer; the library's own is half a second, less than a fork may take.
const RESPONSE: Duration = Duration::from_secs(5);
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// First connections are given up after this many tries, so that a start fails in seconds.
const RETRIES: usize = 2;

pub(super) enum Connection {
    Single(ConnectionManager),
    /// The master's connection, found anew after it failed.
    Sentinel(Box<Mutex<(SentinelClient, Option<MultiplexedConnection>)>>),
    Cluster(ClusterConnection),
}

/// An address, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    kind: Kind,
    tls: bool,
    user: Option<String>,
    password: Option<String>,
    /// Host and port.
    nodes: Vec<(String, u16)>,
    /// Name of the master (Sentinel).
    master: String,
    /// Number of the database; 0 on a cluster.
    database: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Sentinel,
    Cluster,
}

impl Address {
    fn parse(url: &str) -> Result<Self, String> {
        let shape = "write redis://[user:password@]host:port[/db], rediss://…, \
                     redis+cluster://host:port,… or redis+sentinel://host:port,…/master[/db]";
        let (scheme, rest) = url.split_once("://").ok_or_else(|| shape.to_owned())?;
        let (base, kind) = match scheme.split_once('+') {
            None => (scheme, Kind::Single),
            Some((base, "cluster")) => (base, Kind::Cluster),
            Some((base, "sentinel")) => (base, Kind::Sentinel),
            Some((_, other)) => return Err(format!("unknown kind `{other}`; {shape}")),
        };
        let tls = match base {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            other => return Err(format!("unknown scheme `{other}`; {shape}")),
        };
        let (user, hosts) = rest.rsplit_once('@').map_or(("", rest), |(user, hosts)| (user, hosts));
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        let some = |text: &str| (!text.is_empty()).then(|| decode_percent(text));
        let mut path = hosts.split('/');
        let nodes = path.next().unwrap_or_default();
        let default_port = if kind == Kind::Sentinel { 26379 } else { 6379 };
        let nodes = nodes
            .split(',')
            .map(|node| parse_node(node, default_port))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| format!("a host or port is missing or wrong; {shape}"))?;
        let master = if kind == Kind::Sentinel { path.next().unwrap_or_default() } else { "" };
        if kind == Kind::Sentinel && master.is_empty() {
            return Err(format!("the name of the master is missing; {shape}"));
        }
        let database = match path.next() {
            None | Some("") => 0,
            Some(text) => text.parse().map_err(|_| format!("`{text}` is no database; {shape}"))?,
        };
        Ok(Self {
            kind,
            tls,
            user: some(user),
            password: some(password),
            nodes,
            master: master.to_owned(),
            database,
        })
    }

    /// The address as it may be shown to people.
    fn place(&self) -> String {
        let nodes: Vec<_> =
            self.nodes.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        nodes.join(",")
    }

    fn infos(&self) -> RedisResult<Vec<redis::ConnectionInfo>> {
        let info = |(host, port): &(String, u16)| -> RedisResult<redis::ConnectionInfo> {
            let address = if self.tls {
                ConnectionAddr::TcpTls {
                    host: host.clone(),
                    port: *port,
                    insecure: false,
                    tls_params: None,
                }
            } else {
                ConnectionAddr::Tcp(host.clone(), *port)
            };
            let info = address.into_connection_info()?;
            let mut redis = info.redis_settings().clone().set_db(self.database);
            if let Some(user) = &self.user {
                redis = redis.set_username(user);
            }
            if let Some(password) = &self.password {
                redis = redis.set_password(password);
            }
            Ok(info.set_redis_settings(redis))
        };
        self.nodes.iter().map(info).collect()
    }
}

fn parse_node(node: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = match node.rsplit_once(':') {
        // The last colon of an IPv6 address in brackets is inside of them.
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (node, default_port),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// `%40` -> `@`: passwords may hold what separates the parts of an address.
pub(crate) fn decode_percent(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = hex.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Connection {
    /// Connects; with it the address as it may be shown to people.
    pub(super) async fn open(options: &RedisOptions) -> Result<(Self, String), RedisOpenError> {
        let address = Address::parse(&options.url).map_err(RedisOpenError::Address)?;
        let certificates = match &options.ca {
            None => None,
            Some(path) => Some(read_authority(path)?),
        };
        let place = address.place();
        let unreachable =
            |reason: String| RedisOpenError::Unreachable { place: place.clone(), reason };
        let connecting = Self::connect(&address, certificates);
        // The library's cluster client has been seen to hang while it connects.
        let limit = CONNECT * (RETRIES as u32 + 2);
        let connected = tokio::time::timeout(limit, connecting).await;
        let connected = connected.map_err(|_| unreachable("no answer in time".to_owned()))?;
        let connection = connected.map_err(|error| unreachable(error.to_string()))?;
        Ok((connection, place))
    }

    async fn connect(
        address: &Address,
        certificates: Option<TlsCertificates>,
    ) -> RedisResult<Self> {
        let infos = address.infos()?;
        match address.kind {
            Kind::Single => {
                let info = infos.into_iter().next().expect("an address has a node");
                let client = match certificates {
                    Some(certificates) => Client::build_with_tls(info, certificates)?,
                    None => Client::open(info)?,
                };
                let config = ConnectionManagerConfig::new()
                    .set_response_timeout(Some(RESPONSE))
                    .set_connection_timeout(Some(CONNECT))
                    .set_max_delay(Duration::from_secs(1))
                    .set_number_of_retries(RETRIES);
                let manager = ConnectionManager::new_with_config(client, config).await?;
                Ok(Self::Single(manager))
            }
            Kind::Sentinel => {
                let client = sentinel(address, infos, certificates)?;
                let connection = Self::Sentinel(Box::new(Mutex::new((client, None))));
                connection.ask(vec![redis::cmd("PING")]).await?;
                Ok(connection)
            }
            Kind::Cluster => {
                let mut builder = ClusterClient::builder(infos)
                    .connection_timeout(CONNECT)
                    .response_timeout(RESPONSE);
                if let Some(certificates) = certificates {
                    builder = builder.certs(certificates);
                }
                Ok(Self::Cluster(builder.build()?.get_async_connection().await?))
            }
        }
    }

    /// Sends all commands at once; the answers in order. An error of one is an error of all, though
    /// others may have been carried out.
    pub(super) async fn ask(&self, commands: Vec<Cmd>) -> RedisResult<Vec<Value>> {
        match self {
            Self::Single(manager) => pipe(commands).query_async(&mut manager.clone()).await,
            Self::Sentinel(master) => {
                let mut master = master.lock().await;
                let (client, connection) = &mut *master;
                let connected = match connection.take() {
                    Some(connected) => connected,
                    None => client.get_async_connection_with_config(&config()).await?,
                };
                *connection = Some(connected.clone());
                drop(master);
                self.forget_on_error(pipe(commands).query_async(&mut connected.clone()).await).await
            }
            // A pipeline goes to one node only; commands sent side by side share connections anyway.
            Self::Cluster(cluster) => {
                let ask = |command: Cmd| {
                    let mut cluster = cluster.clone();
                    async move { command.query_async::<Value>(&mut cluster).await }
                };
                try_join_all(commands.into_iter().map(ask)).await
            }
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// After an error, the next call asks the sentinels again who the master is.
    async fn forget_on_error(&self, answers: RedisResult<Vec<Value>>) -> RedisResult<Vec<Value>> {
        if let (Self::Sentinel(master), Err(_)) = (self, &answers) {
            master.lock().await.1 = None;
        }
        answers
    }
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_response_timeout(Some(RESPONSE))
        .set_connection_timeout(Some(CONNECT))
}

fn pipe(commands: Vec<Cmd>) -> redis::Pipeline {
    let mut pipe = redis::Pipeline::with_capacity(commands.len());
    for command in commands {
        pipe.add_command(command);
    }
    pipe
}

fn sentinel(
    address: &Address,
    infos: Vec<redis::ConnectionInfo>,
    certificates: Option<TlsCertificates>,
) -> RedisResult<SentinelClient> {
    let nodes = infos.iter().map(|info| info.addr().clone());
    let mut builder =
        SentinelClientBuilder::new(nodes, &address.master, SentinelServerType::Master)?
            .set_client_to_redis_db(address.database);
    if let Some(user) = &address.user {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = &address.password {
        builder = builder.set_client_to_redis_password(password);
    }
    if address.tls {
        builder = builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_sentinel_tls_mode(TlsMode::Secure);
    }
    if let Some(certificates) = certificates {
        builder = builder
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_certificates(certificates);
    }
    builder.build()
}

fn read_authority(path: &std::path::Path) -> Result<TlsCertificates, RedisOpenError> {
    let read = std::fs::read(path).map_err(|error| {
        RedisOpenError::Address(format!("read the authority {}: {error}", path.display()))
    })?;
    Ok(TlsCertificates { client_tls: None, root_cert: Some(read) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_each_kind_are_taken_apart() {
        let one = Address::parse("redis://127.0.0.1:7000/3").unwrap();
        assert_eq!((one.kind, one.tls, one.database), (Kind::Single, false, 3));
        assert_eq!(one.nodes, [("127.0.0.1".to_owned(), 7000)]);
        let tls = Address::parse("rediss://gnomon:p%40ss%3Aword@db.example").unwrap();
        assert_eq!(tls.nodes, [("db.example".to_owned(), 6379)]);
        assert_eq!(tls.user.as_deref(), Some("gnomon"));
        assert_eq!(tls.password.as_deref(), Some("p@ss:word"));
        assert!(tls.tls && !tls.place().contains("word"));
        let cluster = Address::parse("redis+cluster://:secret@a:1,b:2,[::1]:3").unwrap();
        assert_eq!(cluster.nodes.len(), 3);
        assert_eq!((cluster.user, cluster.nodes[2].0.as_str()), (None, "::1"));
        let sentinel = Address::parse("valkey+sentinel://a,b/main/2").unwrap();
        assert_eq!((sentinel.master.as_str(), sentinel.database), ("main", 2));
        assert_eq!(sentinel.nodes[0].1, 26379);
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_password() {
        for url in [
            "127.0.0.1:6379",
            "http://a:1",
            "redis+swarm://:secret@a:1",
            "redis://:secret@a:b",
            "redis://:secret@",
            "redis+sentinel://:secret@a:1",
            "redis://:secret@a:1/x",
        ] {
            let reason = Address::parse(url).unwrap_err();
            assert!(!reason.contains("secret") && reason.contains("redis://"), "{reason}");
        }
    }
}
