//! `gnomon migrate`: sessions of the build before several gateways come back with what they kept.

use gnomon_tests::http;
use gnomon_tests::packet::{Connect, Incoming, Session, Version};
use gnomon_tests::server::{Options, Server};
use gnomon_tests::wire::Client;
use serde_json::Value;

use crate::world::{Device, Remote, SOON, document, refused, told, wait_for_rest};

/// Connects as the reader; whether the server had its session.
fn reader(server: &Server) -> (Client, bool) {
    let session = Session::Kept;
    let connect = Connect { version: Version::V311, client: "reader", user: None, session };
    Client::connect(server.mqtt(), connect).expect("the server accepts")
}

/// Leaves a session with a message that it was not delivered, and ends the server.
fn leave_a_session(server: &mut Server) {
    let (mut client, _) = reader(server);
    client.subscribe("devices/coldroom/room-1/desired").expect("the server answers");
    drop(client);
    Device::connect(server, "room-1").leave(server);
    let kind = [("content-type", "application/json")];
    let url = server.url("/v1/devices/coldroom/room-1/shadow");
    let body = r#"{"state":{"desired":{"setpoint":3.25}}}"#;
    let answer = http::request("PATCH", &url, &kind, body);
    assert_eq!(answer.status, 200, "{}", answer.text);
    wait_for_rest(server);
    assert!(server.terminate().success());
}

/// Makes Redis what the older build would have left.
fn make_old(remote: &Remote) {
    for gateway in remote.redis(&["SMEMBERS", "gnomon:gateways"]).lines() {
        remote.redis(&["DEL", &format!("gnomon:sessions:{gateway}")]);
    }
    remote.redis(&["DEL", "gnomon:gateways", "gnomon:migrations"]);
    assert_eq!(remote.redis(&["HDEL", "gnomon:{reader}:session", "gateway"]), "1");
    let fields = remote.redis(&["HKEYS", "gnomon:{reader}:session"]);
    assert!(fields.lines().any(|field| field.starts_with('m')), "nothing was kept: {fields}");
    remote.redis(&["SADD", "gnomon:sessions", "reader"]);
    remote.redis(&["SET", "gnomon:format", "1"]);
}

#[test]
fn a_session_of_an_older_build_gets_its_kept_message_after_a_migration() {
    let remote = Remote::start(&[], &[]);
    let mut server = remote.server(&[]);
    let place = remote.words();
    let words = |verb: &'static str, more: &[&'static str]| -> Vec<String> {
        let own = [&[verb], more].concat();
        own.into_iter().map(str::to_owned).chain(place.iter().cloned()).collect()
    };
    let said = refused(&words("migrate", &[]));
    assert!(said.contains("workers of telemetry are there"), "{said}");
    leave_a_session(&mut server);
    make_old(&remote);

    for verb in ["run", "rebuild"] {
        let said = refused(&words(verb, &[]));
        assert!(said.contains("format 1, this build reads 2"), "{said}");
        assert!(said.contains("run `gnomon migrate`"), "{said}");
    }
    let counted = document(&words("migrate", &["--dry-run", "--json"]));
    assert_eq!((&counted["format"], &counted["dry_run"]), (&"1".into(), &Value::Bool(true)));
    assert_eq!(counted["migrations"][0]["sessions"], 1, "{counted:#}");
    assert_eq!(remote.redis(&["GET", "gnomon:format"]), "1");
    let done = document(&words("migrate", &["--json"]));
    assert_eq!(done["migrations"], counted["migrations"]);
    assert_eq!((&done["before"], &done["format"]), (&"1".into(), &"2".into()));
    assert_eq!(done["applied"][0]["name"], "several-gateways", "{done:#}");
    assert_eq!(told(&words("migrate", &[])), "format 2\nnothing to migrate\n");

    server.restart();
    let (mut client, had_session) = reader(&server);
    assert!(had_session);
    let next = client.next(SOON).expect("what was kept comes");
    let Incoming::Published { topic, payload, .. } = next else { panic!("{next:?}") };
    assert_eq!(topic, "devices/coldroom/room-1/desired");
    assert!(String::from_utf8_lossy(payload).contains("3.25"));
}

#[test]
fn an_embedded_store_has_nothing_to_migrate() {
    let mut server = Server::start(Options::default());
    let data = server.data().display().to_string();
    let said = refused(&["migrate", "--data", &data]);
    assert!(said.contains("in use by another process"), "{said}");
    assert!(server.terminate().success());
    assert_eq!(told(&["migrate", "--data", &data]), "format 2\nnothing to migrate\n");
}
