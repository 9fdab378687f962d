//! A deployment, a device that reports, and the command line.

use std::process::{Command, Output};
use std::time::Duration;

use gnomon_tests::http;
use gnomon_tests::packet::{self, Connect, Incoming, Publish, Sent, Session, Version};
use gnomon_tests::server::{Options, Server, binary, repository};
use gnomon_tests::stack::{Kind, Part};
use gnomon_tests::wire::Client;
use serde_json::Value;

/// How long something may take that takes milliseconds on a machine that is not busy.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// NATS and Redis.
pub(crate) struct Remote {
    pub(crate) nats: Part,
    pub(crate) redis: Part,
}

impl Remote {
    pub(crate) fn start(nats: &[&str], redis: &[&str]) -> Self {
        let nats = Part::start_with(Kind::Nats, nats);
        Self { nats, redis: Part::start_with(Kind::Redis, redis) }
    }

    /// The words of a command line that name both.
    pub(crate) fn words(&self) -> Vec<String> {
        vec!["--queue".into(), self.nats.url(), "--store".into(), self.redis.url()]
    }

    /// `gnomon run` on both.
    pub(crate) fn server(&self, more: &[&str]) -> Server {
        let mut words = self.words();
        words.extend(more.iter().map(|word| (*word).to_owned()));
        Server::start(Options { more: words, ..Options::default() })
    }

    /// Says a command to Redis; what it answers.
    #[allow(dead_code, reason = "used by the next tests")]
    pub(crate) fn redis(&self, words: &[&str]) -> String {
        let port = self.redis.address().port().to_string();
        let out = Command::new("redis-cli").args(["-p", &port]).args(words).output();
        let out = out.expect("redis-cli runs");
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

/// Runs the command line with the shipped rules and models.
pub(crate) fn gnomon<W: AsRef<str>>(words: &[W]) -> Output {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GNOMON_")) {
        command.env_remove(name);
    }
    for folder in ["rules", "schemas"] {
        let variable = format!("GNOMON_{}", folder.to_uppercase());
        command.env(variable, repository().join(folder));
    }
    let words = words.iter().map(AsRef::as_ref);
    // Its file of settings is looked for where it runs.
    command.args(words).current_dir("/").output().expect("gnomon runs")
}

/// Both outputs as one text.
pub(crate) fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// What a command prints that must succeed.
#[track_caller]
pub(crate) fn told<W: AsRef<str>>(words: &[W]) -> String {
    let output = gnomon(words);
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

/// What a command prints that must fail.
#[track_caller]
pub(crate) fn refused<W: AsRef<str>>(words: &[W]) -> String {
    let output = gnomon(words);
    assert!(!output.status.success(), "{}", text(&output));
    String::from_utf8(output.stderr).expect("it prints UTF-8")
}

/// The document that a command prints.
#[track_caller]
pub(crate) fn document<W: AsRef<str>>(words: &[W]) -> Value {
    serde_json::from_str(&told(words)).expect("it prints JSON")
}

/// A device that is connected.
pub(crate) struct Device {
    client: Client,
    name: String,
}

impl Device {
    pub(crate) fn connect(server: &Server, name: &str) -> Self {
        let user = format!("coldroom/{name}");
        let connect = Connect {
            version: Version::V5,
            client: name,
            user: Some(&user),
            session: Session::Clean,
        };
        let (client, _) = Client::connect(server.mqtt(), connect).expect("the server accepts");
        Self { client, name: name.to_owned() }
    }

    /// Publishes telemetry at QoS 1 and waits for the acknowledgement.
    pub(crate) fn report(&mut self, payload: &str) {
        let topic = format!("devices/coldroom/{}/telemetry", self.name);
        let (version, packet, sent) = (Version::V5, 7, Sent::First);
        let mut out = Vec::new();
        let payload = payload.as_bytes();
        packet::publish(&mut out, Publish { version, topic: &topic, packet, sent, payload });
        self.client.send(&out).expect("the connection stands");
        loop {
            let next = self.client.next(SOON).expect("the server answers");
            if let Incoming::Acknowledged { packet: 7, reason } = next {
                assert_eq!(reason, 0);
                return;
            }
        }
    }
}

impl Device {
    /// Goes away, and waits until that is known.
    pub(crate) fn leave(self, server: &Server) {
        let url = server.url(&format!("/v1/devices/coldroom/{}", self.name));
        drop(self);
        http::get_until(&url, SOON, |device| device["presence"]["online"] == false);
        wait_for_rest(server);
    }
}

/// Waits until the device's shadow says so.
pub(crate) fn wait_for_temperature(server: &Server, device: &str, temperature: f64) {
    let url = server.url(&format!("/v1/devices/coldroom/{device}/shadow"));
    http::get_until(&url, SOON, |shadow| shadow["state"]["reported"]["temperature"] == temperature);
}

/// Waits until nothing is pending.
pub(crate) fn wait_for_rest(server: &Server) {
    http::get_until(&server.url("/v1/stats"), SOON, |stats| {
        let logs = stats["logs"].as_array().expect("there are logs");
        let of_work = logs.iter().filter(|log| log["log"] != "dead/0" && log["log"] != "answers/0");
        of_work.into_iter().all(|log| log["pending"] == 0)
    });
}

/// The sum of a member over all logs of a stream.
pub(crate) fn sum(stats: &Value, stream: &str, member: &str) -> u64 {
    let logs = stats["logs"].as_array().expect("there are logs");
    let of = logs.iter().filter(|log| {
        log["log"].as_str().is_some_and(|name| name.split('/').next() == Some(stream))
    });
    of.map(|log| log[member].as_u64().expect("a number")).sum()
}
