//! What a client of NATS can do to Gnomon's logs: append what is no message, and take back what was
//! acknowledged.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

/// What a worker has acknowledged of a partition of what devices report, as it keeps it.
#[derive(Debug)]
pub(crate) struct Acknowledged(String);

impl Acknowledged {
    /// Everything up to here is acknowledged.
    pub(crate) fn floor(&self) -> u64 {
        let entry: Value = serde_json::from_str(&self.0).expect("an entry is JSON");
        entry["floor"].as_u64().expect("an entry has a floor")
    }
}

/// Appends bytes that are no message to a partition of what devices report, and waits until the log
/// has them.
pub(crate) fn poison(nats: SocketAddr, partition: u16) {
    let subject = format!("gnomon.telemetry.{partition}.-");
    let answer = ask(nats, &subject, r#"{"no": "envelope"}"#, "\"stream\"");
    assert!(answer.contains(&format!("gnomon-telemetry-{partition}")), "{answer}");
}

/// What is acknowledged of a partition.
pub(crate) fn acknowledged(nats: SocketAddr, partition: u16) -> Acknowledged {
    let key = format!("$KV.gnomon-acks.telemetry.{partition}");
    let subject = format!("$JS.API.DIRECT.GET.KV_gnomon-acks.{key}");
    Acknowledged(ask(nats, &subject, "", "\"floor\""))
}

/// Puts an earlier entry in the place of the present one, as if somebody had opened the log then and
/// done nothing since: whoever works on the partition has it no more, and what was acknowledged
/// since, and what is at hand, comes again.
pub(crate) fn take_back(nats: SocketAddr, partition: u16, earlier: &Acknowledged) {
    let key = format!("$KV.gnomon-acks.telemetry.{partition}");
    let answer = ask(nats, &key, &earlier.0, "\"seq\"");
    assert!(answer.contains("KV_gnomon-acks"), "{answer}");
}

/// Publishes, and waits for a line of an answer that has the `mark`.
fn ask(nats: SocketAddr, subject: &str, body: &str, mark: &str) -> String {
    let mut stream = TcpStream::connect(nats).expect("NATS listens");
    let words = format!(
        "CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB answer 1\r\n\
         PUB {subject} answer {}\r\n{body}\r\n",
        body.len()
    );
    stream.write_all(words.as_bytes()).expect("NATS reads");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("NATS answers"));
    lines.find(|line| line.contains(mark)).expect("NATS answers")
}
