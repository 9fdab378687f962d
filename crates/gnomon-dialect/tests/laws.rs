//! Laws that hold for every topic, payload and name.

#![allow(clippy::unwrap_used, reason = "everything here is a test")]

use gnomon_dialect::topic::{matches, valid_topic};
use gnomon_dialect::{Said, UplinkKind, decode, encode, may_publish, may_subscribe, recognise};
use gnomon_model::{CallId, Destination, DeviceKey, Dialect, Effect, Object, Record, Reject};
use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config as ProptestConfig, TestRunner};
use serde_json::{Value, json};

const NOW_MS: i64 = 1_700_000_000_000;

/// Words that topics are made of, names that are taken for them, and wildcards.
const WORDS: [&str; 30] = [
    "",
    "devices",
    "sys",
    "ext",
    "rrpc",
    "ntp",
    "session",
    "shadow",
    "update",
    "ota",
    "device",
    "user",
    "thing",
    "_thing",
    "event",
    "property",
    "post",
    "service",
    "response",
    "batch",
    "a",
    "b",
    "telemetry",
    "events",
    "requests",
    "replies",
    "set_reply",
    "7",
    "+",
    "#",
];
/// Names of devices and products, some of which are words of topics as well.
const NAMES: [&str; 8] = ["a", "b", "sys", "ext", "rrpc", "shadow", "user", "devices"];

fn levels() -> impl Strategy<Value = String> {
    prop::collection::vec(select(&WORDS[..]), 1..9).prop_map(|levels| levels.join("/"))
}

fn device() -> impl Strategy<Value = DeviceKey> {
    (select(&NAMES[..]), select(&NAMES[..]))
        .prop_map(|(product, device)| DeviceKey::parse(product, device).unwrap())
}

/// Topics of one device with a random end, in which one level is replaced now and then.
fn near_a_device(device: &DeviceKey) -> impl Strategy<Value = String> + use<> {
    let DeviceKey { product, device } = device;
    let roots = [
        format!("devices/{product}/{device}"),
        format!("/sys/{product}/{device}"),
        format!("/{product}/{device}/user"),
        format!("/ext/rrpc/+/sys/{product}/{device}"),
        format!("/ext/rrpc/7/{product}/{device}"),
        format!("/ext/ntp/{product}/{device}"),
        format!("/shadow/update/{product}/{device}"),
        format!("/ota/device/+/{product}/{device}"),
    ];
    let replaced =
        prop_oneof![2 => Just(None), 1 => (0..6_usize, select(&WORDS[..])).prop_map(Some)];
    (prop::sample::select(roots.to_vec()), levels(), replaced).prop_map(|(root, end, replaced)| {
        let text = format!("{root}/{end}");
        let mut levels: Vec<&str> = text.split('/').collect();
        if let Some((at, word)) = replaced {
            let at = at % levels.len();
            levels[at] = word;
        }
        levels.join("/")
    })
}

fn topic() -> impl Strategy<Value = String> {
    prop_oneof![levels(), device().prop_flat_map(|device| near_a_device(&device)), any::<String>()]
}

fn json() -> impl Strategy<Value = Value> {
    let keys = select(
        &[
            "params",
            "id",
            "sys",
            "ack",
            "value",
            "values",
            "time",
            "properties",
            "events",
            "code",
            "data",
            "error",
            "x",
        ][..],
    );
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(&["", "7", "{}", "x"][..]).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys.clone(), inner, 0..5).prop_map(|members| members
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    })
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => json().prop_map(|value| value.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..64),
    ]
}

/// Who owns a topic: a second, plainer reading of `wire/alibaba.md` 3 and docs/topics.md.
fn owner(topic: &str) -> Option<(&str, &str)> {
    let levels: Vec<&str> = topic.split('/').collect();
    match levels[..] {
        ["devices", product, device, ..]
        | ["", "sys", product, device, ..]
        | ["", "ext", "rrpc", _, "sys", product, device, ..] => Some((product, device)),
        ["", "ext", "rrpc", _, "ext" | "shadow" | "ota", ..] => None,
        ["", "ext", "rrpc", _, product, device, ..]
        | ["", "ext", "ntp" | "session" | "error", product, device, ..]
        | ["", "shadow", _, product, device, ..]
        | ["", "ota", "device", _, product, device, ..] => Some((product, device)),
        ["", "ext" | "shadow" | "ota", ..] => None,
        ["", product, device, ..] => Some((product, device)),
        _ => None,
    }
}

fn topics_of(messages: &[(Destination, String)]) -> impl Iterator<Item = &str> {
    messages.iter().filter_map(|(to, _)| match to {
        Destination::Topic { topic, .. } => Some(topic.as_str()),
        Destination::Caller { .. } | Destination::Dead => None,
    })
}

proptest! {
    // Failures become rows of tables, not files.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decode_knows_whom_to_tell_exactly_when_the_topic_is_recognised(
        topic in topic(), payload in payload(),
    ) {
        let uplink = recognise(&topic);
        match decode(&topic, &payload, NOW_MS) {
            Ok(decoded) => prop_assert_eq!(uplink.unwrap().dialect, decoded.reply_to.dialect),
            Err((to, _)) => prop_assert_eq!(uplink.is_some(), to.is_some()),
        }
    }

    #[test]
    fn reports_and_events_are_in_time_order(payload in json()) {
        let topic = "/sys/pk/lamp/thing/event/property/batch/post";
        let message = json!({ "params": payload });
        if let Ok(decoded) = decode(topic, message.to_string().as_bytes(), NOW_MS)
            && let Said::Reports { points, events, .. } = decoded.said
        {
            prop_assert!(points.is_sorted_by_key(|point| point.time_ms));
            prop_assert!(events.is_sorted_by_key(|event| event.time_ms));
            prop_assert!(points.iter().all(|point| point.time_ms > 0 && !point.values.is_empty()));
        }
    }

    #[test]
    fn what_a_device_is_told_is_a_topic_of_its_own_and_no_uplink(
        topic in topic(), payload in payload(),
    ) {
        let Some(uplink) = recognise(&topic) else { return Ok(()) };
        let effect = match decode(&topic, &payload, NOW_MS) {
            Ok(decoded) => Effect::Accepted { to: decoded.reply_to, faults: Vec::new() },
            Err((to, reject)) => Effect::Rejected { to: to.unwrap(), reject },
        };
        for topic in topics_of(&encode(&effect, &uplink.device, &Record::default())) {
            prop_assert!(valid_topic(topic), "{topic}");
            prop_assert!(may_subscribe(&uplink.device, topic), "{topic}");
            prop_assert_eq!(recognise(topic), None);
        }
    }

    #[test]
    fn the_reply_to_a_call_is_recognised_with_its_id(
        device in device(), id in any::<u32>(), sync in any::<bool>(), alink in any::<bool>(),
        service in "[a-zA-Z0-9_:]{1,30}",
    ) {
        let id = CallId(id);
        let dialect = if alink { Dialect::Alink } else { Dialect::Plain };
        let record = Record { dialect, ..Record::default() };
        let call = Effect::Call { id, service, inputs: Object::new(), sync };
        let messages = encode(&call, &device, &record);
        let [(Destination::Topic { topic, .. }, request)] = &messages[..] else {
            panic!("a call is one message");
        };
        // As firmware does it: from the topic, and with the id of the request.
        let (reply_topic, reply) = match dialect {
            Dialect::Plain => (format!("devices/{device}/replies/{id}"), json!({ "x": 1 })),
            Dialect::Alink => {
                let request: Value = serde_json::from_str(request).unwrap();
                let reply = json!({ "id": request["id"], "code": 200, "data": { "x": 1 } });
                let topic = match sync {
                    true => topic.replace("/rrpc/request/", "/rrpc/response/"),
                    false => format!("{topic}_reply"),
                };
                (topic, reply)
            }
        };
        let uplink = recognise(&reply_topic).unwrap();
        prop_assert_eq!((&uplink.device, uplink.kind), (&device, UplinkKind::Reply));
        prop_assert!(may_publish(&device, &reply_topic));
        let decoded = decode(&reply_topic, reply.to_string().as_bytes(), NOW_MS).unwrap();
        let outputs = Object::from_iter([("x".to_owned(), Value::from(1))]);
        prop_assert_eq!(decoded.said, Said::Reply { call: id, result: Ok(outputs) });
    }

    #[test]
    fn a_device_hears_nobody_elses_topics(
        (device, filter) in device().prop_flat_map(|device| {
            let filter = prop_oneof![near_a_device(&device), levels()];
            (Just(device), filter)
        }),
        fill in prop::collection::vec(select(&NAMES[..]), 12),
        tail in prop::collection::vec(select(&WORDS[..28]), 0..4),
    ) {
        if !may_subscribe(&device, &filter) {
            return Ok(());
        }
        // A topic that the filter matches: names for `+`, any levels or none for `#`.
        let mut levels: Vec<&str> = filter.split('/').collect();
        if levels.last() == Some(&"#") {
            levels.pop();
            levels.extend(&tail);
        }
        let mut fill = fill.into_iter().cycle();
        let filled = levels.into_iter().map(|level| if level == "+" { fill.next().unwrap() } else { level });
        let topic = filled.collect::<Vec<_>>().join("/");
        prop_assert!(matches(&filter, &topic), "{filter} {topic}");
        prop_assert_eq!(owner(&topic), Some((device.product.as_str(), device.device.as_str())), "{}", topic);
    }

    #[test]
    fn a_device_speaks_for_nobody_else(device in device(), topic in topic()) {
        if may_publish(&device, &topic) {
            let own = (device.product.as_str(), device.device.as_str());
            prop_assert_eq!(owner(&topic), Some(own), "{}", topic);
            prop_assert!(recognise(&topic).is_none_or(|uplink| uplink.device == device), "{topic}");
        } else if let Some(uplink) = recognise(&topic) {
            prop_assert!(uplink.device != device, "{topic}");
        }
    }
}

#[test]
fn the_generated_filters_are_not_all_refused() {
    let mut runner = TestRunner::deterministic();
    let lamp = DeviceKey::parse("a", "b").unwrap();
    let filters = (0..200).map(|_| near_a_device(&lamp).new_tree(&mut runner).unwrap().current());
    let allowed = filters.filter(|filter| may_subscribe(&lamp, filter)).count();
    assert!((20..180).contains(&allowed), "{allowed} of 200");
}

/// Refusals of payloads that are too large to stand in a file.
#[test]
fn bounds_hold() {
    let numbered = |count: usize| -> Value {
        (0..count).map(|at| (format!("p{at}"), Value::from(at))).collect::<Object>().into()
    };
    let listed = |count: usize| json!({ "p": vec![json!({ "value": 1 }); count] });
    let alink = |params: Value| json!({ "id": "17", "params": params }).to_string();
    let (plain, post) = ("devices/pk/lamp/telemetry", "/sys/pk/lamp/thing/event/property/post");
    let batch = "/sys/pk/lamp/thing/event/property/batch/post";
    let deep = |opening: &str, closing: &str| opening.repeat(10_000) + &closing.repeat(10_000);
    for (topic, payload, expected) in [
        (plain, json!({ "a": "x".repeat(1_000_000) }).to_string(), "too-large"),
        (post, alink(json!({ "a": "x".repeat(1_000_000) })), "too-large"),
        (plain, json!({ "a": "x".repeat(262_136) }).to_string(), "fine"),
        (plain, json!({ "a": "x".repeat(262_137) }).to_string(), "too-large"),
        (plain, format!("{{\"a\":{}}}", deep("[", "]")), "not-json"),
        (post, deep("{\"params\":", "}"), "not-json"),
        (plain, numbered(1000).to_string(), "fine"),
        (plain, numbered(1001).to_string(), "too-large"),
        (post, alink(numbered(200)), "fine"),
        (post, alink(numbered(201)), "too-large"),
        (batch, alink(json!({ "properties": listed(2000) })), "fine"),
        (batch, alink(json!({ "properties": listed(2001) })), "too-large"),
        (batch, alink(json!({ "events": listed(200) })), "fine"),
        (batch, alink(json!({ "events": listed(201) })), "too-large"),
    ] {
        let found = decode(topic, payload.as_bytes(), NOW_MS);
        let found = found.map_or_else(|(_, Reject { kind, .. })| kind.as_str(), |_| "fine");
        assert_eq!(found, expected, "{topic} {payload:.40} of {} bytes", payload.len());
    }
}
