//! The one subscriber of all alerts: acknowledges each, and matches it with the message that
//! caused it.

use std::io;
use std::rc::Rc;

use gnomon_tests::packet::{self, Incoming};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::board::Shared;
use crate::device::{DECIMALS, Plan, connect};

/// Bytes asked of the socket at a time.
const READ_BYTES: usize = 256 * 1024;

/// Connects and subscribes.
pub(crate) async fn subscribe(plan: &Plan) -> io::Result<TcpStream> {
    let (mut stream, _) = connect(plan, "load-alerts", None).await?;
    let mut out = Vec::new();
    let filter = ["devices", &plan.product, "+", "alerts"].join("/");
    packet::subscribe(&mut out, plan.version, 1, &filter);
    stream.write_all(&out).await?;
    let mut inbox = Vec::new();
    loop {
        if stream.read_buf(&mut inbox).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        match packet::decode(plan.version, &inbox) {
            None => {}
            Some((Incoming::Subscribed { reason }, _)) if reason < 0x80 => return Ok(stream),
            Some((other, _)) => return Err(io::Error::other(format!("refused: {other:?}"))),
        }
    }
}

/// Reads alerts until the connection ends.
pub(crate) async fn follow(mut stream: TcpStream, plan: Rc<Plan>, board: Shared) {
    let mut inbox = Vec::with_capacity(READ_BYTES);
    let mut out = Vec::new();
    loop {
        let read = stream.read_buf(&mut inbox).await;
        let used = take(&plan, &inbox, &board, &mut out);
        inbox.drain(..used);
        let written = stream.write_all(&out).await;
        out.clear();
        let reason = match read.and_then(|read| written.map(|()| read)) {
            Ok(0) => "the server closed the subscriber's connection".to_owned(),
            Ok(_) => continue,
            Err(error) => error.to_string(),
        };
        return board.borrow_mut().note_loss(reason);
    }
}

/// Counts the whole packets of the inbox and encodes their acknowledgements.
fn take(plan: &Plan, inbox: &[u8], board: &Shared, out: &mut Vec<u8>) -> usize {
    let mut from = 0;
    let mut board = board.borrow_mut();
    while let Some((incoming, used)) = packet::decode(plan.version, &inbox[from..]) {
        from += used;
        let Incoming::Published { topic, packet, payload } = incoming else {
            board.note_stranger();
            continue;
        };
        match cause(topic, payload) {
            Some((device, number)) => board.note_alert(device, number),
            None => board.note_stranger(),
        }
        if let Some(packet) = packet {
            packet::acknowledge(out, packet);
        }
    }
    from
}

/// The device that an alert is about, and the number of the message that caused it.
fn cause(topic: &str, payload: &[u8]) -> Option<(usize, usize)> {
    let device = topic.rsplit('/').nth(1)?.strip_prefix("dev-")?.parse().ok()?;
    let key = br#""temperature":"#;
    let at = payload.windows(key.len()).position(|window| window == key)? + key.len();
    let rest = &payload[at..];
    let end = rest.iter().position(|byte| matches!(byte, b',' | b'}'))?;
    let temperature: f64 = std::str::from_utf8(&rest[..end]).ok()?.trim().parse().ok()?;
    let number = temperature.fract() * 10_f64.powi(DECIMALS as i32);
    Some((device, number.round() as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_of_an_alert_is_read_from_it() {
        for (values, number) in [
            (r#"{"temperature":9.000123}"#, 123),
            (r#"{"a":1,"temperature":5.0}"#, 0),
            (r#"{"temperature":9.999999,"b":2}"#, 999_999),
        ] {
            let payload = format!(r#"{{"alert":"too_warm","values":{values}}}"#);
            let cause = cause("devices/coldroom/dev-17/alerts", payload.as_bytes());
            assert_eq!(cause, Some((17, number)));
        }
        assert_eq!(cause("devices/coldroom/other/alerts", b"{}"), None);
    }
}
