//! `gnomon dead drop`.

use gnomon_tests::server::{Options, Server};

use crate::world::{Device, Remote, document, refused, sum, told};

fn drop_letters(server: &Server) {
    let mut device = Device::connect(server, "room-1");
    for number in 0..5 {
        device.report(&format!("no json {number}"));
    }
    device.leave(server);
    let http = server.http().to_string();
    let said = told(&["dead", "drop", "2", "4", "--http", &http]);
    assert_eq!(said, "2  dropped\n4  dropped\n");
    let said = refused(&["dead", "drop", "2", "77", "--http", &http]);
    assert!(said.contains("no longer kept") && said.contains("position 77"), "{said}");
    let list = told(&["dead", "list", "--http", &http]);
    let left: Vec<_> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(left, ["1", "3", "5"]);
    assert_eq!(told(&["dead", "drop", "--all", "--http", &http]), "3 dropped\n");
    assert_eq!(told(&["dead", "list", "--http", &http]), "");
    let stats = document(&["stats", "--http", &http, "--json"]);
    assert_eq!(stats["conserved"], true, "{stats:#}");
    assert_eq!((sum(&stats, "telemetry", "dead"), sum(&stats, "dead", "received")), (5, 5));
    assert_eq!((sum(&stats, "dead", "pending"), sum(&stats, "dead", "dropped")), (0, 5));
}

#[test]
fn letters_are_dropped_and_the_books_still_balance() {
    let mut server = Server::start(Options::default());
    drop_letters(&server);
    server.restart();
    let http = server.http().to_string();
    assert_eq!(told(&["dead", "list", "--http", &http]), "");
}

#[test]
fn letters_on_nats_are_dropped_and_the_books_still_balance() {
    let remote = Remote::start(&[], &[]);
    let server = remote.server(&[]);
    drop_letters(&server);
}
