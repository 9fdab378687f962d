//! `gnomon dead`: messages that can never be applied, listed, shown, replayed and dropped.

use clap::Subcommand;
use serde_json::Value;

use crate::remote::{Remote, text};
use gnomon_run::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum DeadVerb {
    /// List messages that can never be applied, oldest first
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// Show one of them
    Show {
        /// Its position, as `list` prints it
        position: u64,
        #[command(flatten)]
        remote: Remote,
    },
    /// Drop letters for good: nothing of them is left to look at or replay
    Drop {
        /// Their positions, as `list` prints them
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        positions: Vec<u64>,
        /// All that stand there now
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Put one of them back into its queue, for example after its thing model was mended
    Replay {
        /// Its position, as `list` prints it
        position: u64,
        #[command(flatten)]
        remote: Remote,
    },
}

/// Runs `gnomon dead …`.
pub(crate) fn dead(verb: &DeadVerb) -> Result<(), Failure> {
    match verb {
        DeadVerb::List { remote } => {
            remote.each_page("/v1/dead", "", "dead", |letter| println!("{}", line(letter)))
        }
        DeadVerb::Show { position, remote } => {
            remote.print(&remote.get(&format!("/v1/dead/{position}"))?, laid_out);
            Ok(())
        }
        DeadVerb::Drop { all: true, remote, .. } => {
            // All up to the last one now: none goes that came meanwhile.
            let stats = remote.get("/v1/stats")?;
            let logs = stats["logs"].as_array().into_iter().flatten();
            let last =
                logs.filter(|log| log["log"] == "dead/0").find_map(|log| log["received"].as_u64());
            let path = format!("/v1/dead?through={}", last.unwrap_or(0));
            remote.print(&remote.delete(&path)?, dropped);
            Ok(())
        }
        DeadVerb::Drop { positions, remote, .. } => {
            let mut failures = Vec::new();
            for position in positions {
                match remote.delete(&format!("/v1/dead/{position}")) {
                    Ok(_) => println!("{position}  dropped"),
                    Err(Failure(lines)) => failures.extend(lines),
                }
            }
            if failures.is_empty() { Ok(()) } else { Err(Failure(failures)) }
        }
        DeadVerb::Replay { position, remote } => {
            remote.print(&remote.post(&format!("/v1/dead/{position}/replay"))?, replayed);
            Ok(())
        }
    }
}

/// One line of the listing.
fn line(letter: &Value) -> String {
    format!(
        "{:>8}  {:<16}  {:<32}  {}",
        text(&letter["position"]),
        text(&letter["kind"]),
        device(&letter["envelope"]["device"]),
        harmless(&text(&letter["reason"])),
    )
}

/// Everything about one letter, a line each; what the letter does not have is left out.
fn laid_out(letter: &Value) -> String {
    let envelope = &letter["envelope"];
    let at = letter["at_ms"].as_i64().filter(|at_ms| *at_ms != 0);
    let at = at.and_then(|at_ms| jiff::Timestamp::from_millisecond(at_ms).ok());
    let (kind, what) = content(&envelope["what"]);
    let (form, payload) = content(&letter["payload"]);
    let rows = [
        ("position", Some(text(&letter["position"]))),
        ("kind", present(&letter["kind"])),
        ("reason", present(&letter["reason"])),
        ("function", present(&letter["function"])),
        ("source", present(&letter["source"])),
        ("received", at.map(|at| at.to_string())),
        ("device", (!envelope.is_null()).then(|| device(&envelope["device"]))),
        ("id", present(&envelope["id"])),
        ("what", kind.map(str::to_owned)),
        ("topic", present(&what["topic"])),
        ("patch", present(&what["patch"])),
        (form.unwrap_or("text"), present(payload).filter(|payload| !payload.is_empty())),
    ];
    let rows = rows.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let lines: Vec<String> =
        rows.map(|(name, value)| format!("{name:<10}{}", harmless(value))).collect();
    lines.join("\n")
}

fn dropped(told: &Value) -> String {
    format!("{} dropped", text(&told["dropped"]))
}

fn replayed(told: &Value) -> String {
    let (id, stream) = (text(&told["id"]), text(&told["stream"]));
    format!("{id}  {}  is in {stream} again", device(&told["device"]))
}

/// The name and the content of a document of one member, such as `{"published":{…}}`.
fn content(value: &Value) -> (Option<&str>, &Value) {
    let member = value.as_object().and_then(|object| object.iter().next());
    member.map_or((None, &Value::Null), |(name, content)| (Some(name.as_str()), content))
}

fn present(value: &Value) -> Option<String> {
    (!value.is_null()).then(|| text(value))
}

fn device(key: &Value) -> String {
    format!("{}/{}", text(&key["product"]), text(&key["device"]))
}

/// The text without characters that would steer the terminal: a device may have sent them.
fn harmless(text: &str) -> String {
    let escaped = |c: char| c.is_control().then(|| c.escape_default().to_string());
    text.chars().map(|c| escaped(c).unwrap_or_else(|| c.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_letter_is_laid_out_a_line_each() {
        let letter = json!({
            "position": 7, "kind": "invalid", "reason": "no property `a`", "function": "telemetry",
            "source": "telemetry/0@x/1", "at_ms": 1_700_000_000_000_i64,
            "envelope": {
                "id": "e-1", "device": { "product": "coldroom", "device": "room-1" },
                "what": { "published": { "topic": "devices/coldroom/room-1/telemetry" } },
            },
            "payload": { "text": "{\"a\":\u{1b}[31m 1}" },
        });
        let then = "position  7\nkind      invalid\nreason    no property `a`\n\
            function  telemetry\nsource    telemetry/0@x/1\nreceived  2023-11-14T22:13:20Z\n\
            device    coldroom/room-1\nid        e-1\nwhat      published\n\
            topic     devices/coldroom/room-1/telemetry\ntext      {\"a\":\\u{1b}[31m 1}";
        assert_eq!(laid_out(&letter), then);
        let columns = line(&letter);
        let columns: Vec<&str> = columns.split_whitespace().take(3).collect();
        assert_eq!(columns, ["7", "invalid", "coldroom/room-1"]);
    }

    #[test]
    fn a_letter_that_never_was_an_envelope_shows_its_bytes() {
        let letter = json!({
            "position": 1, "kind": "malformed", "reason": "decode envelope", "function": "shadow",
            "source": "shadow/0@x/1", "at_ms": 0, "envelope": null, "payload": { "hex": "ff" },
        });
        let shown = laid_out(&letter);
        assert!(shown.ends_with("source    shadow/0@x/1\nhex       ff"), "{shown}");
        let damaged = json!({ "position": 1, "reason": "the letter cannot be read" });
        assert_eq!(laid_out(&damaged), "position  1\nreason    the letter cannot be read");
    }

    #[test]
    fn a_replay_says_where_the_message_is() {
        let device = json!({ "product": "coldroom", "device": "room-1" });
        let told = json!({ "id": "replay-7-e-1", "stream": "telemetry", "device": device });
        assert_eq!(replayed(&told), "replay-7-e-1  coldroom/room-1  is in telemetry again");
    }
}
