//! Who reads the downlink on NATS.

use std::time::Instant;

use serde_json::Value;

use crate::world::{Remote, SOON, document, refused, told};

#[test]
fn a_reader_that_is_gone_is_dropped_and_one_that_is_there_is_not() {
    let remote = Remote::start(&[], &[]);
    let words = |verb: &[&str]| {
        let mut words = vec!["readers".to_owned()];
        words.extend(remote.words());
        words.extend(verb.iter().map(|word| (*word).to_owned()));
        words
    };
    assert_eq!(told(&words(&[])).trim(), "nobody reads the downlink");
    let mut server = remote.server(&[]);
    let list = || document(&words(&["--json"]));
    let listed = list();
    let name = listed[0]["name"].as_str().expect("a name");
    assert_eq!((listed.as_array().map(Vec::len), &listed[0]["present"]), (Some(1), &true.into()));
    let kept = refused(&words(&["drop", name]));
    assert!(kept.contains("is there and reads: stop it first"), "{kept}");
    server.kill_9();
    let deadline = Instant::now() + SOON;
    while list()[0]["present"] != Value::Bool(false) {
        assert!(Instant::now() < deadline, "it is never missed");
    }
    assert!(told(&words(&[])).contains("is gone"));
    assert_eq!(told(&words(&["drop", name])).trim(), format!("{name} is forgotten"));
    assert_eq!(list(), Value::Array(Vec::new()));
    let unknown = refused(&words(&["drop", name]));
    assert!(unknown.contains("there is no reader"), "{unknown}");
}
