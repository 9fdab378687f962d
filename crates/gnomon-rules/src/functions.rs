//! What a rule may call: its actions, and the functions of Rhai that are let through.

use gnomon_model::{Action, Object, Severity};
use rhai::{Dynamic, Engine, EvalAltResult, FnPtr, ImmutableString, Map, Position};

use crate::running;
use crate::value::{to_json, to_object};

/// Longest alert name, message, and log line, bytes.
const NAME_BYTES_MAX: usize = 64;
const MESSAGE_BYTES_MAX: usize = 1024;
/// Longest topic and payload of a publish, bytes. No JSON of a rule is longer than a payload.
const TOPIC_BYTES_MAX: usize = 1024;
const PAYLOAD_BYTES_MAX: usize = 65_536;

/// Actions: what a rule decides; each with the numbers of arguments that it takes.
pub(crate) const ACTIONS: &[(&str, &[usize])] = &[
    ("alert", &[3]),
    ("clear", &[1]),
    ("desire", &[1]),
    ("call_service", &[1, 2]),
    ("publish", &[2]),
    ("respond", &[1]),
    ("log", &[1]),
];

/// Functions of Rhai's packages that a rule may call. A name that is neither here, nor an action,
/// nor a function of the rule itself is refused when the rule is loaded.
pub(crate) const STANDARD: &[&str] = &[
    "abs",
    "acos",
    "all",
    "append",
    "asin",
    "atan",
    "bytes",
    "ceiling",
    "chars",
    "chop",
    "clear",
    "contains",
    "cos",
    "crop",
    "dedup",
    "drain",
    "ends_with",
    "exp",
    "extract",
    "fill_with",
    "filter",
    "find",
    "floor",
    "for_each",
    "get",
    "index_of",
    "insert",
    "int",
    "is_empty",
    "is_even",
    "is_finite",
    "is_infinite",
    "is_nan",
    "is_odd",
    "is_zero",
    "keys",
    "len",
    "ln",
    "make_lower",
    "make_upper",
    "map",
    "max",
    "min",
    "mixin",
    "pad",
    "pop",
    "push",
    "range",
    "reduce",
    "remove",
    "replace",
    "reverse",
    "round",
    "set",
    "shift",
    "sign",
    "sin",
    "some",
    "sort",
    "split",
    "sqrt",
    "starts_with",
    "sub_string",
    "tan",
    "to_float",
    "to_int",
    "to_lower",
    "to_string",
    "to_upper",
    "trim",
    "truncate",
    "type_of",
    "values",
];

type Done = Result<(), Box<EvalAltResult>>;

/// Registers the actions, and takes away what must not be there.
pub(crate) fn register(engine: &mut Engine, string_bytes_max: usize) {
    engine.register_fn("alert", alert);
    engine.register_fn("clear", clear);
    engine.register_fn("desire", desire);
    engine.register_fn("call_service", call_with);
    engine.register_fn("publish", publish);
    engine.register_fn("respond", respond);
    engine.register_fn("log", log);
    engine.register_fn("log", log_json);
    // Rhai has a logarithm of this name for this type alone.
    engine.register_fn("log", |number: f64| log_json(number.into()));
    hide_closure_names(engine);
    engine.register_fn("call_service", call_without);
    engine.register_fn("publish", publish_text);
    // Rhai makes the whole text before it looks at its length.
    engine.register_fn("replace", move |text: &mut ImmutableString, find: &str, by: &str| {
        replace(text, find, by, string_bytes_max)
    });
    engine.register_fn("replace", move |text: &mut ImmutableString, find: char, by: &str| {
        replace(text, find.encode_utf8(&mut [0; 4]), by, string_bytes_max)
    });
    // `sleep` comes with the core package and would block the thread.
    engine.register_fn("sleep", |_: i64| -> Done { Err("a rule cannot sleep".into()) });
    engine.register_fn("sleep", |_: f64| -> Done { Err("a rule cannot sleep".into()) });
}

fn replace(text: &mut ImmutableString, find: &str, by: &str, bytes_max: usize) -> Done {
    let found = text.matches(find).count();
    let bytes = (text.len() - found * find.len()).saturating_add(found * by.len());
    if bytes > bytes_max {
        let what = "Length of string".to_owned();
        return Err(EvalAltResult::ErrorDataTooLarge(what, Position::NONE).into());
    }
    if found > 0 {
        *text = text.replace(find, by).into();
    }
    Ok(())
}

fn bounded(what: &str, text: &str, bytes_max: usize) -> Result<String, String> {
    if text.len() > bytes_max {
        return Err(format!("{what} has {} bytes, at most {bytes_max}", text.len()));
    }
    Ok(text.to_owned())
}

fn done(action: Result<Action, String>) -> Done {
    Ok(action.and_then(running::act)?)
}

fn alert(name: &str, severity: &str, message: &str) -> Done {
    done(new_alert(name, severity, message))
}

fn new_alert(name: &str, severity: &str, message: &str) -> Result<Action, String> {
    let words = Severity::ALL.map(Severity::as_str).join(", ");
    let severity = Severity::parse(severity)
        .ok_or_else(|| format!("alert: `{severity}` is no severity: use one of {words}"))?;
    Ok(Action::Alert {
        alert: alert_name(name)?,
        severity,
        message: bounded("alert: message", message, MESSAGE_BYTES_MAX)?,
        values: Object::new(),
    })
}

fn alert_name(name: &str) -> Result<String, String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_word) {
        return Err(format!(
            "`{name:.80}` is no alert name: 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 _ -"
        ));
    }
    Ok(name.to_owned())
}

fn clear(name: &str) -> Done {
    done(alert_name(name).map(|alert| Action::Clear { alert, values: Object::new() }))
}

fn desire(patch: Map) -> Done {
    done(to_object(&patch, "desire", PAYLOAD_BYTES_MAX).map(|patch| Action::Desire { patch }))
}

fn call_without(service: &str) -> Done {
    call_with(service, Map::new())
}

fn call_with(service: &str, inputs: Map) -> Done {
    let service = service.to_owned();
    done(
        to_object(&inputs, "call_service", PAYLOAD_BYTES_MAX)
            .map(|inputs| Action::Call { service, inputs }),
    )
}

fn publish_text(topic: &str, payload: &str) -> Done {
    done(new_publish(topic, payload.to_owned()))
}

fn publish(topic: &str, payload: Dynamic) -> Done {
    let payload =
        to_json(&payload, "publish", PAYLOAD_BYTES_MAX).map(|payload| payload.to_string());
    done(payload.and_then(|payload| new_publish(topic, payload)))
}

fn new_publish(topic: &str, payload: String) -> Result<Action, String> {
    let sound = !topic.is_empty() && !topic.starts_with('$') && !topic.contains(['+', '#', '\0']);
    if !sound {
        return Err(format!("publish: `{topic:.80}` is no topic: no wildcards, no leading $"));
    }
    let topic = bounded("publish: topic", topic, TOPIC_BYTES_MAX)?;
    let payload = bounded("publish: payload", &payload, PAYLOAD_BYTES_MAX)?;
    Ok(Action::Publish { topic, payload })
}

fn respond(body: Dynamic) -> Done {
    done(to_json(&body, "respond", PAYLOAD_BYTES_MAX).map(|body| Action::Respond { body }))
}

fn log_json(value: Dynamic) -> Done {
    let text = to_json(&value, "log", MESSAGE_BYTES_MAX).map(|value| value.to_string());
    done(text.and_then(|text| new_log(&text)))
}

fn log(text: &str) -> Done {
    done(new_log(text))
}

fn new_log(text: &str) -> Result<Action, String> {
    bounded("log", text, MESSAGE_BYTES_MAX).map(|text| Action::Log { text })
}

/// Rhai names a closure by a hash, which may differ between machines.
fn hide_closure_names(engine: &mut Engine) {
    let shown = |_: &mut FnPtr| ImmutableString::from("a function");
    engine.register_fn("to_string", shown);
    engine.register_fn("to_debug", shown);
    engine.register_fn("name", shown);
    engine.register_get("name", shown);
}
