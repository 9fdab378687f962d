//! Acknowledgements: a person has seen an alert.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use gnomon_host::port::{Queue, Store, Stream};
use gnomon_model::{Alert, Answer, Object, What};
use serde::Deserialize;
use serde_json::Value;

use crate::Shared;
use crate::extract::{INPUTS, Named, Received, append, bad, envelope, expect_kind, object};
use crate::problem::Problem;
use crate::shadow::ANSWER_MAX;

/// Longest name of a person, and longest id of an alert that is looked for, characters.
const NAME_MAX: usize = 128;

#[derive(Debug, Deserialize)]
pub(crate) struct Id {
    id: String,
}

pub(crate) async fn acknowledge<S: Store, Q: Queue>(
    State(shared): State<Arc<Shared<S, Q>>>,
    Named(device): Named,
    Path(Id { id }): Path<Id>,
    headers: HeaderMap,
    body: Result<Received, Problem>,
) -> Result<Json<Alert>, Problem> {
    expect_kind(&headers, &INPUTS)?;
    if id.chars().count() > NAME_MAX {
        return Err(bad(format!("the alert's id is longer than {NAME_MAX} characters")));
    }
    let by = who(object(body)?)?;
    let envelope = envelope(device, What::Acknowledge { alert: id, by });
    let waiting = shared.answers.expect(&envelope.id)?;
    append(&shared.api.queue, Stream::Alerts, &envelope).await?;
    match waiting.answer(ANSWER_MAX).await {
        Some(Answer::Acknowledged { alert }) => Ok(Json(*alert)),
        Some(Answer::Refused(reject)) => Err(reject.into()),
        Some(
            Answer::Desired { .. }
            | Answer::Outputs { .. }
            | Answer::Failed { .. }
            | Answer::TimedOut,
        ) => {
            let detail = "the acknowledgement was answered as if it were another request";
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail))
        }
        None => {
            let detail =
                "no answer in time; the acknowledgement is in the queue and will be applied";
            Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, detail))
        }
    }
}

/// Takes the name out of `{"by": "name"}`.
fn who(mut body: Object) -> Result<String, Problem> {
    let by = body.remove("by");
    if let Some(other) = body.keys().next() {
        return Err(bad(format!("`{other:.64}` is unknown: send {{\"by\":\"name\"}}")));
    }
    let Some(Value::String(by)) = by else {
        return Err(bad("`by` is missing or no text: send {\"by\":\"name\"}"));
    };
    let by = by.trim();
    if by.is_empty() || by.chars().count() > NAME_MAX || by.chars().any(char::is_control) {
        let wanted = format!("1 to {NAME_MAX} characters, no control characters");
        return Err(bad(format!("`by` is no name: send {wanted}")));
    }
    Ok(by.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnomon_model::json::parse_object;

    #[test]
    fn a_name_is_taken_and_everything_else_refused() {
        let who = |body: &str| who(parse_object(body.as_bytes()).unwrap()).ok();
        assert_eq!(who(r#"{"by":" Ana 娜 "}"#).as_deref(), Some("Ana 娜"));
        let long = format!(r#"{{"by":"{}"}}"#, "x".repeat(NAME_MAX + 1));
        for body in [
            "{}",
            r#"{"by":7}"#,
            r#"{"by":" "}"#,
            r#"{"by":"a\u0007"}"#,
            r#"{"by":"a","at":1}"#,
            &long,
        ] {
            assert_eq!(who(body), None, "{body}");
        }
    }
}
