//! The tables of `wire/aws.md` 1.2 to 1.8 and 1.11, row by row.

use serde_json::{Value, json};

use super::*;

const NOW_MS: i64 = 1_790_000_005_999;
const NOW: i64 = 1_790_000_005;

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

fn parse(operation: Operation, payload: &[u8]) -> Result<Request, Rejected> {
    Request::parse(operation, payload, &Limits::default())
}

fn ask_at(
    shadow: &mut Document,
    operation: Operation,
    payload: &str,
    now_ms: i64,
) -> Result<Responses, Rejected> {
    let limits = Limits::default();
    let request = Request::parse(operation, payload.as_bytes(), &limits)?;
    apply(shadow, request, "dev1", now_ms, &limits)
}

fn update(shadow: &mut Document, payload: &Value) -> Result<Responses, Rejected> {
    ask_at(shadow, Operation::Update, &payload.to_string(), NOW_MS)
}

fn get(shadow: &mut Document) -> Value {
    let responses = ask_at(shadow, Operation::Get, "", NOW_MS).unwrap();
    assert_eq!((responses.delta, responses.documents), (None, None));
    Value::Object(responses.accepted)
}

/// A shadow after these values of `state`, one update each, a second apart, the last one at NOW.
fn shadow_of(states: &[Value]) -> Document {
    let mut shadow = Document::default();
    for (state, before) in states.iter().zip((0..states.len() as i64).rev()) {
        let payload = json!({ "state": state }).to_string();
        ask_at(&mut shadow, Operation::Update, &payload, NOW_MS - 1000 * before).unwrap();
    }
    shadow
}

/// 1.2, 1.7, 1.11.
#[test]
fn a_malformed_update_is_refused_with_this_text() {
    let token_65 = format!(r#"{{"state":{{}},"clientToken":"{}"}}"#, "t".repeat(65));
    let nested_9 =
        format!(r#"{{"state":{{"desired":{}1{}}}}}"#, r#"{"a":"#.repeat(9), "}".repeat(9));
    let in_array_9 =
        format!(r#"{{"state":{{"reported":{}1{}}}}}"#, r#"{"a":[{"b":"#.repeat(5), "}]}".repeat(5));
    for (payload, message) in [
        ("", "Invalid JSON"),
        ("{", "Invalid JSON"),
        ("[]", "Invalid JSON"),
        ("null", "Invalid JSON"),
        (r#"{"state":{},"state":{}}"#, "Invalid JSON"),
        (r#"{"state":{"reported":{"a":18446744073709551615}}}"#, "Invalid JSON"),
        (r#"{"state":{"reported":{"a":[1,null]}}}"#, "Invalid JSON"),
        (r#"{"state":{"desired":{"a":{"b":[[null]]}}}}"#, "Invalid JSON"),
        (r#"{"state":{"desired":{"a":[{"b":null}]}}}"#, "Invalid JSON"),
        ("{}", "Missing required node: state"),
        (r#"{"version":"x"}"#, "Missing required node: state"),
        (r#"{"state":1}"#, "State node must be an object"),
        (r#"{"state":[]}"#, "State node must be an object"),
        (r#"{"state":"null"}"#, "State node must be an object"),
        (r#"{"state":{"desired":1}}"#, "Desired node must be an object"),
        (r#"{"state":{"desired":[null]}}"#, "Desired node must be an object"),
        (r#"{"state":{"reported":"on"}}"#, "Reported node must be an object"),
        (r#"{"state":{"reported":false}}"#, "Reported node must be an object"),
        (r#"{"state":{"delta":{}}}"#, "State contains an invalid node: 'delta'"),
        (r#"{"state":{"desired":{},"x":null}}"#, "State contains an invalid node: 'x'"),
        (r#"{"state":{},"version":"1"}"#, "Invalid version"),
        (r#"{"state":{},"version":1.0}"#, "Invalid version"),
        (r#"{"state":{},"version":null}"#, "Invalid version"),
        (r#"{"state":{},"version":{}}"#, "Invalid version"),
        (r#"{"state":{},"clientToken":7}"#, "Invalid clientToken"),
        (r#"{"state":{},"clientToken":null}"#, "Invalid clientToken"),
        (&token_65, "Invalid clientToken"),
        (&nested_9, "JSON contains too many levels of nesting; maximum is 6"),
        (&in_array_9, "JSON contains too many levels of nesting; maximum is 6"),
    ] {
        let rejected = parse(Operation::Update, payload.as_bytes()).unwrap_err();
        assert_eq!(rejected.to_string(), message, "{payload}");
        assert_eq!(rejected.error.code(), 400, "{payload}");
    }
}

#[test]
fn an_update_at_its_limits_is_read() {
    let nested_8 =
        format!(r#"{{"state":{{"desired":{}1{}}}}}"#, r#"{"a":"#.repeat(8), "}".repeat(8));
    let empty_9 = format!(
        r#"{{"state":{{"desired":{}{}}}}}"#,
        r#"{"a":"#.repeat(8),
        "{}".to_owned() + &"}".repeat(8)
    );
    let arrays = r#"{"state":{"reported":{"a":[[[[[[[[[[1]]]]]]]]]]}}}"#;
    let token_64 = format!(r#"{{"state":null,"clientToken":"{}"}}"#, "t".repeat(64));
    let unknown = r#"{"state":{"desired":null,"reported":{}},"metadata":7,"other":[null]}"#;
    for payload in [&nested_8, &empty_9, arrays, &token_64, unknown] {
        assert!(parse(Operation::Update, payload.as_bytes()).is_ok(), "{payload}");
    }
}

#[test]
fn a_rejection_repeats_the_token_that_could_be_read() {
    for (payload, token) in [
        (r#"{"clientToken":"k"}"#, Some("k")),
        (r#"{"state":7,"clientToken":"k"}"#, Some("k")),
        (r#"{"state":{},"version":"","clientToken":"k"}"#, Some("k")),
        (r#"{"state":{},"clientToken":7}"#, None),
        (r#"{"clientToken":"k""#, None),
    ] {
        let rejected = parse(Operation::Update, payload.as_bytes()).unwrap_err();
        assert_eq!(rejected.token.as_deref(), token, "{payload}");
    }
    let rejected =
        update(&mut Document::default(), &json!({"state": {}, "version": 9, "clientToken": "k"}));
    assert_eq!(rejected.unwrap_err().token.as_deref(), Some("k"));
}

#[test]
fn a_get_or_delete_may_be_empty_and_ignores_what_it_does_not_know() {
    for operation in [Operation::Get, Operation::Delete] {
        for (payload, token) in [
            ("", Ok(None)),
            ("{}", Ok(None)),
            (r#"{"clientToken":"k","version":7,"state":1}"#, Ok(Some("k".to_owned()))),
            ("[]", Err(ShadowError::InvalidJson)),
            (" ", Err(ShadowError::InvalidJson)),
            (r#"{"clientToken":7}"#, Err(ShadowError::InvalidToken)),
        ] {
            let read = parse(operation, payload.as_bytes());
            let read = read.map(|request| request.token).map_err(|rejected| rejected.error);
            assert_eq!(read, token, "{payload}");
        }
    }
}

#[test]
fn text_that_is_not_utf8_is_415_and_invalid_json_over_mqtt() {
    let rejected = parse(Operation::Update, b"{\"state\":\xff}").unwrap_err();
    assert_eq!((rejected.error.code(), &rejected.error), (415, &ShadowError::NotUtf8));
    let told = json!({"code": 400, "message": "Invalid JSON", "timestamp": NOW});
    assert_eq!(Value::Object(rejected.payload(NOW_MS)), told);
}

/// 1.11: 8192 bytes of desired and reported pass, one more does not.
#[test]
fn the_size_of_the_state_has_a_limit() {
    // `{"a":"..."}` has 8 bytes around the text.
    let mut shadow = shadow_of(&[json!({"desired": {"a": "x".repeat(4096 - 8)}})]);
    let reported = |bytes: usize| json!({"state": {"reported": {"a": "x".repeat(bytes - 8)}}});
    let before = shadow.clone();
    let refused = update(&mut shadow, &reported(4097)).unwrap_err();
    assert_eq!((refused.error.code(), shadow.clone()), (413, before));
    update(&mut shadow, &reported(4096)).unwrap();
    assert_eq!(shadow.state_bytes(), 8192);
}

#[test]
fn a_state_above_a_lowered_limit_may_shrink_but_not_grow() {
    let mut shadow = shadow_of(&[json!({"reported": {"a": "x".repeat(100), "b": "y"}})]);
    let limits = Limits { state_bytes_max: 50, ..Limits::default() };
    for (state, accepted) in
        [(json!({"b": null}), true), (json!({}), true), (json!({"b": "y"}), false)]
    {
        let payload = json!({"state": {"reported": state}}).to_string();
        let request = Request::parse(Operation::Update, payload.as_bytes(), &limits).unwrap();
        let outcome = apply(&mut shadow, request, "dev1", NOW_MS, &limits);
        assert_eq!(outcome.is_ok(), accepted, "{payload}");
    }
}

#[test]
fn a_request_has_a_limit_before_it_is_read() {
    let limits = Limits { payload_bytes_max: 12, ..Limits::default() };
    assert!(Request::parse(Operation::Update, br#"{"state":{}}"#, &limits).is_ok());
    let refused = Request::parse(Operation::Update, br#"{"state":{} }"#, &limits).unwrap_err();
    assert_eq!(refused.error, ShadowError::TooLarge);
}

/// 1.3.
#[test]
fn merge_has_this_outcome() {
    let nested = json!({"a": {"x": 1, "y": 2}, "b": 1});
    for (stored, patch, then) in [
        (nested.clone(), json!({"a": {"x": 3}}), json!({"a": {"x": 3, "y": 2}, "b": 1})),
        (nested.clone(), json!({"b": null}), json!({"a": {"x": 1, "y": 2}})),
        (nested.clone(), json!({"a": null}), json!({"b": 1})),
        (nested.clone(), json!({"z": null}), nested.clone()),
        (nested.clone(), json!({"a": {"z": null}}), nested.clone()),
        (nested.clone(), json!({}), nested.clone()),
        (nested.clone(), json!({"a": {}}), nested.clone()),
        (nested.clone(), json!({"a": 5}), json!({"a": 5, "b": 1})),
        (nested.clone(), json!({"b": {}}), json!({"a": {"x": 1, "y": 2}, "b": {}})),
        (nested.clone(), json!({"b": {"c": 1}}), json!({"a": {"x": 1, "y": 2}, "b": {"c": 1}})),
        (nested.clone(), json!({"a": [1]}), json!({"a": [1], "b": 1})),
        (json!({"a": {"x": 1}}), json!({"a": {"x": null}}), json!({"a": {}})),
        (json!({"l": [1, 2]}), json!({"l": [3]}), json!({"l": [3]})),
        (json!({"l": [[1], [2]]}), json!({"l": [[1]]}), json!({"l": [[1]]})),
        (json!({"l": [{"x": 1}]}), json!({"l": [{"y": 1}]}), json!({"l": [{"y": 1}]})),
        (json!({}), json!({"a": {"b": null}}), json!({"a": {}})),
        (json!({}), json!({"a": {"b": {"c": null, "d": 1}}}), json!({"a": {"b": {"d": 1}}})),
        (json!({}), json!({"a": "", "b": 0, "c": false}), json!({"a": "", "b": 0, "c": false})),
        (json!({}), json!({"a": {}}), json!({"a": {}})),
    ] {
        for section in ["desired", "reported"] {
            let mut shadow = shadow_of(&[json!({section: stored}), json!({section: patch})]);
            assert_eq!(get(&mut shadow)["state"][section], then, "{stored} + {patch}");
            assert_eq!(shadow.version, 2, "{stored} + {patch}");
        }
    }
}

/// 1.3, rows about sections.
#[test]
fn an_update_of_whole_sections_has_this_outcome() {
    let both = json!({"desired": {"a": 1}, "reported": {"b": 2}});
    for (stored, state, then) in [
        (Some(&both), json!(null), json!({})),
        (Some(&both), json!({"desired": null}), json!({"reported": {"b": 2}})),
        (Some(&both), json!({"reported": null}), json!({"desired": {"a": 1}, "delta": {"a": 1}})),
        (
            Some(&both),
            json!({"reported": {"b": null}}),
            json!({"desired": {"a": 1}, "delta": {"a": 1}}),
        ),
        (Some(&both), json!({"desired": {"a": null}}), json!({"reported": {"b": 2}})),
        (
            Some(&both),
            json!({"desired": null, "reported": {"c": 3}}),
            json!({"reported": {"b": 2, "c": 3}}),
        ),
        (None, json!(null), json!({})),
        (None, json!({}), json!({})),
        (None, json!({"desired": {}}), json!({})),
        (None, json!({"desired": {"a": null}, "reported": null}), json!({})),
    ] {
        let states: Vec<Value> = stored.into_iter().cloned().chain([state.clone()]).collect();
        let mut shadow = shadow_of(&states);
        let got = get(&mut shadow);
        assert_eq!(got["state"], then, "{state}");
        let mut sections: Vec<&String> = then.as_object().unwrap().keys().collect();
        sections.retain(|section| *section != "delta");
        let metadata: Vec<&String> = got["metadata"].as_object().unwrap().keys().collect();
        assert_eq!(metadata, sections, "{state}");
        assert_eq!(got["version"], json!(states.len()), "{state}");
    }
}

#[test]
fn an_empty_update_changes_the_version_alone() {
    let before = shadow_of(&[json!({"desired": {"a": 1}, "reported": {"b": 2}})]);
    let mut after = before.clone();
    update(&mut after, &json!({"state": {}})).unwrap();
    assert_eq!(after, Document { version: 2, ..before });
}

/// 1.4, worked cases and the rules above them.
#[test]
fn delta_is_this() {
    for (desired, reported, delta) in [
        (json!({"on": true}), json!({}), json!({"on": true})),
        (json!({"on": true}), json!({"on": false}), json!({"on": true})),
        (json!({"on": true}), json!({"on": true, "x": 1}), json!({})),
        (json!({"on": true}), json!({"x": 1}), json!({"on": true})),
        (json!({"l": [1]}), json!({"l": [1, 2]}), json!({"l": [1]})),
        (json!({"l": [[1]]}), json!({"l": [[1], [2]]}), json!({"l": [[1]]})),
        (json!({"l": [1, 2]}), json!({"l": [2, 1]}), json!({"l": [1, 2]})),
        (json!({"l": [1, {"a": 2}]}), json!({"l": [1.0, {"a": 2.0}]}), json!({})),
        (
            json!({"a": {"b": {"c": 2}}}),
            json!({"a": {"b": {"c": 1, "e": 5}}}),
            json!({"a": {"b": {"c": 2}}}),
        ),
        (
            json!({"a": {"p": 1, "q": {"z": 0}}}),
            json!({"a": {"p": 1}}),
            json!({"a": {"q": {"z": 0}}}),
        ),
        (json!({"a": {}}), json!({}), json!({"a": {}})),
        (json!({"a": {}}), json!({"a": {"x": 1}}), json!({})),
        (json!({"a": {}}), json!({"a": {}}), json!({})),
        (json!({"a": {}}), json!({"a": 1}), json!({"a": {}})),
        (json!({"a": {"x": 1}}), json!({"a": 1}), json!({"a": {"x": 1}})),
        (json!({"a": 1}), json!({"a": {"x": 1}}), json!({"a": 1})),
        (json!({"a": 1}), json!({"a": 1.0}), json!({})),
        (json!({"a": 1}), json!({"a": "1"}), json!({"a": 1})),
        (json!({"a": 1}), json!({"a": true}), json!({"a": 1})),
        (
            json!({"a": 9_007_199_254_740_993_i64}),
            json!({"a": 9_007_199_254_740_992_i64}),
            json!({"a": 9_007_199_254_740_993_i64}),
        ),
        (json!({}), json!({"a": 1}), json!({})),
    ] {
        let row = format!("{desired} {reported}");
        let mut shadow = shadow_of(&[json!({"desired": desired, "reported": reported})]);
        assert_eq!(Value::Object(shadow.delta()), delta, "{row}");
        let in_get = get(&mut shadow)["state"].get("delta").cloned().unwrap_or(json!({}));
        assert_eq!(in_get, delta, "{row}");
    }
}

#[test]
fn a_delta_message_lists_all_differences_with_the_times_of_desire() {
    let mut shadow = shadow_of(&[
        json!({"desired": {"fan": {"speed": 3, "on": true}, "l": [1, [2]]}}),
        json!({"reported": {"fan": {"on": true}}}),
        json!({"desired": {"e": {}}}),
    ]);
    let responses =
        update(&mut shadow, &json!({"state": {"reported": {"x": 1}}, "clientToken": "k"})).unwrap();
    let first = json!({"timestamp": NOW - 2});
    assert_eq!(
        Value::Object(responses.delta.unwrap()),
        json!({
            "version": 4, "timestamp": NOW, "clientToken": "k",
            "state": {"fan": {"speed": 3}, "l": [1, [2]], "e": {}},
            "metadata": {"fan": {"speed": first}, "l": [first, [first]], "e": {}},
        })
    );
}

#[test]
fn in_sync_or_with_desire_gone_there_is_no_delta_message() {
    for state in [json!({"reported": {"a": 1}}), json!({"desired": {"a": null}}), json!(null)] {
        let mut shadow = shadow_of(&[json!({"desired": {"a": 1}})]);
        let responses = update(&mut shadow, &json!({ "state": state })).unwrap();
        assert_eq!(responses.delta, None, "{state}");
    }
}

/// 1.5.
#[test]
fn only_named_leaves_get_the_new_time() {
    let old = json!({"timestamp": NOW - 1});
    let new = json!({"timestamp": NOW});
    for (stored, patch, metadata) in [
        (json!({"a": 1, "b": 1}), json!({"a": 2}), json!({"a": new, "b": old})),
        (json!({"a": 1, "b": 1}), json!({"a": 1}), json!({"a": new, "b": old})),
        (
            json!({"a": {"x": 1, "y": 1}}),
            json!({"a": {"x": 1}}),
            json!({"a": {"x": new, "y": old}}),
        ),
        (json!({"a": {"x": 1}}), json!({"a": {}}), json!({"a": {"x": old}})),
        (json!({"a": {"x": 1}}), json!({"a": {"x": null}}), json!({"a": {}})),
        (json!({"a": 1}), json!({"a": {"x": 1}}), json!({"a": {"x": new}})),
        (json!({"a": {"x": 1}}), json!({"a": 1}), json!({"a": new})),
        (json!({"a": 1}), json!({"a": {}}), json!({"a": {}})),
        (json!({"l": [1, 2]}), json!({"l": [1]}), json!({"l": [new]})),
        (json!({"l": [1, 2]}), json!({"z": 1}), json!({"l": [old, old], "z": new})),
        (
            json!({}),
            json!({"l": [1, [2, 3], {"x": 4}, []]}),
            json!({"l": [new, [new, new], {"x": new}, []]}),
        ),
    ] {
        let mut shadow = shadow_of(&[json!({"reported": stored}), json!({"reported": patch})]);
        let got = get(&mut shadow);
        let named = got["metadata"].get("reported").cloned().unwrap_or(json!({}));
        assert_eq!(named, metadata, "{stored} + {patch}");
    }
}

/// 1.6.
#[test]
fn accepted_is_the_echo_of_the_request() {
    let now = json!({"timestamp": NOW});
    for (state, metadata) in [
        (
            json!({"reported": {"temp": 21.5, "old": null, "never": null}}),
            json!({"reported": {"temp": now, "old": now, "never": now}}),
        ),
        (
            json!({"desired": {"a": {"b": [1, {"c": 2}]}}}),
            json!({"desired": {"a": {"b": [now, {"c": now}]}}}),
        ),
        (
            json!({"desired": {"e": {}}, "reported": null}),
            json!({"desired": {"e": {}}, "reported": now}),
        ),
        (json!({"desired": {}}), json!({"desired": {}})),
        (json!({}), json!({})),
        (json!(null), now.clone()),
    ] {
        let mut shadow = shadow_of(&[json!({"reported": {"old": 1, "kept": 1}})]);
        let accepted = update(&mut shadow, &json!({"state": state})).unwrap().accepted;
        let then = json!({"state": state, "metadata": metadata, "version": 2, "timestamp": NOW});
        assert_eq!(Value::Object(accepted), then);
    }
}

#[test]
fn get_shows_the_whole_shadow() {
    let mut shadow = shadow_of(&[
        json!({"desired": {"fan": {"speed": 3}}}),
        json!({"reported": {"temp": 21.5}}),
    ]);
    let payload = r#"{"clientToken":"k-18"}"#;
    let responses = ask_at(&mut shadow, Operation::Get, payload, NOW_MS + 39_000).unwrap();
    assert_eq!(
        Value::Object(responses.accepted),
        json!({
            "state": {
                "desired": {"fan": {"speed": 3}}, "reported": {"temp": 21.5},
                "delta": {"fan": {"speed": 3}},
            },
            "metadata": {
                "desired": {"fan": {"speed": {"timestamp": NOW - 1}}},
                "reported": {"temp": {"timestamp": NOW}},
            },
            "version": 2, "timestamp": NOW + 39, "clientToken": "k-18",
        })
    );
    assert_eq!(shadow.version, 2);
}

#[test]
fn documents_show_before_and_after() {
    let mut shadow = Document::default();
    let first = update(&mut shadow, &json!({"state": {"reported": {"temp": 20}}})).unwrap();
    let view = json!({
        "state": {"reported": {"temp": 20}},
        "metadata": {"reported": {"temp": {"timestamp": NOW}}},
        "version": 1,
    });
    let documents = Value::Object(first.documents.unwrap());
    assert_eq!(documents, json!({"current": view, "timestamp": NOW}));

    let payload =
        json!({"state": {"desired": {"fan": 3}, "reported": {"temp": null}}, "clientToken": "k"});
    let second = update(&mut shadow, &payload).unwrap();
    assert_eq!(
        Value::Object(second.documents.unwrap()),
        json!({
            "previous": view,
            "current": {
                "state": {"desired": {"fan": 3}},
                "metadata": {"desired": {"fan": {"timestamp": NOW}}},
                "version": 2,
            },
            "timestamp": NOW, "clientToken": "k",
        })
    );
}

#[test]
fn delete_tells_the_version_that_it_removed() {
    let mut shadow = shadow_of(&[json!({"desired": {"a": 1}}), json!({})]);
    let payload = r#"{"clientToken":"k-19"}"#;
    let responses = ask_at(&mut shadow, Operation::Delete, payload, NOW_MS).unwrap();
    let accepted = json!({"version": 2, "timestamp": NOW, "clientToken": "k-19"});
    assert_eq!(Value::Object(responses.accepted), accepted);
    assert_eq!((responses.delta, responses.documents), (None, None));
}

#[test]
fn what_is_absent_or_deleted_is_not_found() {
    let mut deleted = shadow_of(&[json!({"desired": {"a": 1}})]);
    ask_at(&mut deleted, Operation::Delete, "", NOW_MS).unwrap();
    for shadow in [Document::default(), deleted] {
        for operation in [Operation::Get, Operation::Delete] {
            let mut after = shadow.clone();
            let rejected = ask_at(&mut after, operation, "", NOW_MS).unwrap_err();
            let told = json!({"code": 404, "message": "No shadow exists with name: 'dev1'"});
            assert_eq!(Value::Object(rejected.payload(NOW_MS)), told);
            assert_eq!(after, shadow);
        }
    }
}

#[test]
fn a_rejection_with_a_token_has_a_time() {
    let payload = r#"{"clientToken":"k"}"#;
    let rejected = ask_at(&mut Document::default(), Operation::Get, payload, NOW_MS).unwrap_err();
    let message = "No shadow exists with name: 'dev1'";
    let told = json!({"code": 404, "message": message, "timestamp": NOW, "clientToken": "k"});
    assert_eq!(Value::Object(rejected.payload(NOW_MS)), told);
}

/// 1.2 and 1.8.
#[test]
fn a_version_has_this_outcome() {
    let live = shadow_of(&[json!({}), json!({}), json!({})]);
    let mut deleted = live.clone();
    ask_at(&mut deleted, Operation::Delete, "", NOW_MS).unwrap();
    for (shadow, version, then) in [
        (&live, json!(3), Ok(4)),
        (&live, json!(2), Err((409, "Version conflict"))),
        (&live, json!(4), Err((409, "Version conflict"))),
        (&live, json!(0), Err((409, "Version conflict"))),
        (&live, json!(-3), Err((409, "Version conflict"))),
        (&live, json!("3"), Err((400, "Invalid version"))),
        (&Document::default(), json!(1), Ok(1)),
        (&Document::default(), json!(0), Err((400, "Invalid version"))),
        (&Document::default(), json!(2), Err((400, "Invalid version"))),
        (&Document::default(), json!(-1), Err((400, "Invalid version"))),
        (&deleted, json!(1), Ok(5)),
        (&deleted, json!(4), Err((400, "Invalid version"))),
    ] {
        let mut after = shadow.clone();
        let outcome = update(&mut after, &json!({"state": {}, "version": version}));
        let outcome = outcome.map(|told| told.accepted["version"].as_u64().unwrap());
        let told = outcome.map_err(|rejected| (rejected.error.code(), rejected.to_string()));
        assert_eq!(told, then.map_err(|(code, text)| (code, text.to_owned())), "{version}");
        assert_eq!(after.version, then.unwrap_or(shadow.version), "{version}");
    }
}

/// 1.8.
#[test]
fn a_deleted_shadow_goes_on_counting_for_48_hours() {
    for (later_ms, version) in [(0, 3), (TOMBSTONE_MS - 1, 3), (TOMBSTONE_MS, 1)] {
        let mut shadow = shadow_of(&[json!({"desired": {"a": 1}})]);
        ask_at(&mut shadow, Operation::Delete, "", NOW_MS).unwrap();
        assert_eq!((shadow.version, shadow.exists()), (2, false));
        let payload = r#"{"state":{"reported":{"b":1}}}"#;
        let responses = ask_at(&mut shadow, Operation::Update, payload, NOW_MS + later_ms).unwrap();
        assert_eq!(responses.accepted["version"], version);
        assert!(!responses.documents.unwrap().contains_key("previous"));
        assert_eq!(get(&mut shadow)["state"], json!({"reported": {"b": 1}}));
    }
}

#[test]
fn a_report_of_another_dialect_brings_a_deleted_shadow_back() {
    let mut shadow = shadow_of(&[json!({"reported": {"a": 1}})]);
    ask_at(&mut shadow, Operation::Delete, "", NOW_MS).unwrap();
    let tombstone = serde_json::to_value(&shadow).unwrap();
    assert_eq!(tombstone, json!({"version": 2, "deleted_at_ms": NOW_MS}));
    shadow.report(&object(json!({"b": 1})), 7);
    assert_eq!((shadow.version, shadow.exists()), (3, true));
}

/// 1.7.
#[test]
fn each_error_has_this_code_and_exception() {
    for (error, code, exception, message) in [
        (ShadowError::InvalidJson, 400, "InvalidRequestException", "Invalid JSON"),
        (ShadowError::Unauthorized, 401, "UnauthorizedException", "Unauthorized"),
        (ShadowError::Forbidden, 403, "ForbiddenException", "Forbidden"),
        (ShadowError::ThingNotFound, 404, "ResourceNotFoundException", "Thing not found"),
        (
            ShadowError::NotFound { name: "t~s".into() },
            404,
            "ResourceNotFoundException",
            "No shadow exists with name: 't~s'",
        ),
        (ShadowError::MethodNotAllowed, 405, "MethodNotAllowedException", "Method not allowed"),
        (ShadowError::VersionConflict, 409, "ConflictException", "Version conflict"),
        (
            ShadowError::TooLarge,
            413,
            "RequestEntityTooLargeException",
            "The payload exceeds the maximum size allowed",
        ),
        (
            ShadowError::NotUtf8,
            415,
            "UnsupportedDocumentEncodingException",
            "Unsupported documented encoding; supported encoding is UTF-8",
        ),
        (ShadowError::Throttled, 429, "ThrottlingException", "Too many requests"),
        (ShadowError::Internal, 500, "InternalFailureException", "Internal service failure"),
        (ShadowError::Unavailable, 503, "ServiceUnavailableException", "Service unavailable"),
    ] {
        assert_eq!((error.code(), error.exception()), (code, exception));
        assert_eq!(error.to_string(), message);
    }
}
