//! The monitoring port of a server: the one place where it tells how often it syncs to disk.
//!
//! A client of the queue cannot ask for that: `$JS.API.INFO` does not have it, and `$SYS` is for the
//! system account only.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Longest answer that is read, bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// How often a server syncs to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sync {
    /// Before each acknowledgement.
    Always,
    /// Every so often.
    Every(Duration),
}

/// Asks the server at `http://host:port`.
///
/// # Errors
/// Why it is not known, in a few words.
pub(super) async fn read(url: &str) -> Result<Sync, String> {
    let asked = tokio::time::timeout(ANSWER, get(url, "/jsz?config=1")).await;
    let body = asked.map_err(|_| format!("{url} does not answer"))??;
    parse(&body).ok_or_else(|| format!("{url} does not tell it"))
}

async fn get(url: &str, path: &str) -> Result<Vec<u8>, String> {
    let place = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    let place = place.ok_or_else(|| format!("{url} is no address such as http://host:8222"))?;
    let fault = |error: std::io::Error| format!("{url}: {error}");
    let mut stream = TcpStream::connect(place).await.map_err(fault)?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {place}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(fault)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await.map_err(fault)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or_else(|| format!("{url} does not speak HTTP"))?;
    Ok(answer.split_off(end + 4))
}

fn parse(body: &[u8]) -> Option<Sync> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let config = &document["config"];
    if config["sync_always"] == Value::Bool(true) {
        return Some(Sync::Always);
    }
    config["sync_interval"].as_u64().map(Duration::from_nanos).map(Sync::Every)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_syncing_are_read() {
        let minutes = br#"{"config":{"store_dir":"x","sync_interval":120000000000}}"#;
        assert_eq!(parse(minutes), Some(Sync::Every(Duration::from_secs(120))));
        let always = br#"{"config":{"sync_interval":120000000000,"sync_always":true}}"#;
        assert_eq!(parse(always), Some(Sync::Always));
        assert_eq!(parse(br#"{"config":{}}"#), None);
        assert_eq!(parse(b"<html>"), None);
    }

    #[tokio::test]
    async fn what_is_no_address_says_so() {
        let told = read("https://a:1").await.unwrap_err();
        assert!(told.contains("http://host:8222"), "{told}");
    }
}
