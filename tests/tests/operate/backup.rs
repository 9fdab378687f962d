//! `gnomon backup` and `gnomon restore`.

use std::fs;
use std::path::Path;

use gnomon_tests::http;
use gnomon_tests::packet::{Connect, Session, Version};
use gnomon_tests::server::{Options, Server, repository};
use gnomon_tests::wire::Client;

use crate::world::{Device, Remote, refused, told, wait_for_temperature};

const DEVICES: usize = 5;

fn load(server: &Server, temperature: f64) {
    for number in 0..DEVICES {
        let name = format!("room-{number}");
        let mut device = Device::connect(server, &name);
        device.report(&format!("{{\"temperature\": {temperature}}}"));
        wait_for_temperature(server, &name, temperature);
        device.leave(server);
    }
}

/// A persistent session that is kept.
fn subscribe(server: &Server) {
    let session = Session::Kept;
    let connect = Connect { version: Version::V311, client: "reader", user: None, session };
    let (mut client, _) = Client::connect(server.mqtt(), connect).expect("the server accepts");
    client.subscribe("devices/coldroom/room-1/alerts").expect("the server answers");
}

/// The lines of a backup without the head, which has the time, and the last one, which sums it up.
fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("it is there");
    let inner: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
    inner[..inner.len() - 1].to_vec()
}

fn words(verb: &str, file: &Path, more: &[&str]) -> Vec<String> {
    let file = file.display().to_string();
    [verb, &file].iter().chain(more).map(|word| (*word).to_owned()).collect()
}

#[test]
fn an_embedded_store_is_backed_up_and_restored_with_models_rules_and_sessions() {
    let mut server = Server::start(Options::default());
    subscribe(&server);
    load(&server, 3.5);
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let data = server.data().display().to_string();
    let said = refused(&words("backup", &at("one"), &["--data", &data]));
    assert!(said.contains("in use by another process"), "{said}");
    assert!(server.terminate().success());
    let said = told(&words("backup", &at("one"), &["--data", &data]));
    assert!(said.starts_with("5 records, 1 sessions, 2 models, 5 rules"), "{said}");
    let said = refused(&words("backup", &at("one"), &["--data", &data]));
    assert!(said.contains("exists"), "{said}");

    let place = |name: &str| at(name).display().to_string();
    let (data, rules, schemas) = (place("data"), place("rules"), place("schemas"));
    for name in ["rules", "schemas"] {
        fs::create_dir(at(name)).expect("it can be made");
    }
    let into = ["--data", &data, "--rules", &rules, "--schemas", &schemas];
    damage_is_refused(&at("one"), &into);
    let said = told(&words("restore", &at("one"), &into));
    assert!(said.starts_with("5 records, 1 sessions, 2 models, 5 rules  restored"), "{said}");
    told(&words("backup", &at("two"), &into));
    assert_eq!(lines(&at("one")), lines(&at("two")));
    let model = fs::read(at("schemas/coldroom/coldroom.json")).expect("it is restored");
    let shipped = fs::read(repository().join("schemas/coldroom/coldroom.json"));
    assert_eq!(model, shipped.expect("it is there"));

    let said = refused(&words("restore", &at("one"), &into));
    assert!(said.contains("not empty") && said.contains("--replace"), "{said}");
    fs::write(at("rules/limits.rhai"), "// mine").expect("it can be written");
    let mut replace = into.to_vec();
    replace.push("--replace");
    told(&words("restore", &at("one"), &replace));
    told(&words("backup", &at("three"), &into));
    assert_eq!(lines(&at("one")), lines(&at("three")));
}

/// Whatever is wrong with a file, nothing of it is written.
fn damage_is_refused(good: &Path, into: &[&str]) {
    let text = fs::read_to_string(good).expect("it is there");
    let cut = text[..text.len() - 300].to_owned();
    let ended = text.lines().take(4).map(|line| format!("{line}\n")).collect::<String>();
    for (bad, said) in [
        (text.replacen("3.5", "4.5", 1), "checksum"),
        (cut, "cannot be read"),
        (ended, "its end is missing"),
        (text.replacen("\"format\":1", "\"format\":9", 1), "format 9, this build reads 1"),
        (format!("{text}{{}}"), "cannot be read"),
        (text.lines().skip(1).map(|line| format!("{line}\n")).collect(), "first line is missing"),
        ("garbage".to_owned(), "line 1 cannot be read"),
    ] {
        let path = good.with_extension("bad");
        fs::write(&path, bad).expect("it can be written");
        let found = refused(&words("restore", &path, into));
        assert!(found.contains(said), "{said} in {found}");
    }
    // Had any record been written, the store would not be empty, which the caller finds out.
}

#[test]
fn a_backup_of_redis_and_a_rebuild_bring_a_lost_redis_to_the_present() {
    let remote = Remote::start(&[], &[]);
    let mut server = remote.server(&[]);
    load(&server, 1.5);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("backup");
    let place = remote.words();
    let place: Vec<&str> = place.iter().map(String::as_str).collect();
    // Redis may be backed up while everything runs.
    told(&words("backup", &file, &place));
    let said = refused(&words("restore", &file, &place));
    assert!(said.contains("workers of telemetry are there"), "{said}");
    load(&server, 2.5);
    assert!(server.terminate().success());
    let dry = ["rebuild", "--dry-run", "--json"].iter().chain(&place).copied().collect::<Vec<_>>();
    let before = crate::world::document(&dry);
    assert_eq!(before["changed"], 0, "{before:#}");

    remote.redis(&["FLUSHALL"]);
    told(&words("restore", &file, &place));
    let rebuild = ["rebuild", "--json"].iter().chain(&place).copied().collect::<Vec<_>>();
    let after = crate::world::document(&rebuild);
    assert_eq!(after["sha256"], before["sha256"], "{before:#} {after:#}");
    assert!(after["changed"].as_u64() > Some(0) && after["known"].as_u64() > Some(0), "{after:#}");
    server.restart();
    let shadow = http::get(&server.url("/v1/devices/coldroom/room-4/shadow")).json();
    assert_eq!(shadow["state"]["reported"]["temperature"], 2.5);
}
