//! Bytes that are no message of Gnomon, appended to its logs by a client of NATS.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

/// Appends them to a partition of what devices report, and waits until the log has them.
pub(crate) fn append(nats: SocketAddr, partition: u16) {
    let body = r#"{"no": "envelope"}"#;
    let mut stream = TcpStream::connect(nats).expect("NATS listens");
    let words = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\n\
         PUB gnomon.telemetry.{partition}.- answer {}\r\n{body}\r\n",
        body.len()
    );
    stream.write_all(words.as_bytes()).expect("NATS reads");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("NATS answers"));
    let answer = lines.find(|line| line.contains("\"stream\"")).expect("the log answers");
    assert!(answer.contains(&format!("gnomon-telemetry-{partition}")), "{answer}");
}
