//! Laws of persistent sessions.

use bytes::Bytes;
use gnomon_host::port::{SavedSession, SessionChange, Sessions, StoreError};

use crate::kind::{Kind, wide};

const ME: &str = "me";

fn save(client: &str, document: &'static str) -> SessionChange {
    SessionChange::Save { client: client.into(), document: document.into() }
}

fn keep(client: &str, key: u64, message: &'static str) -> SessionChange {
    SessionChange::Keep { client: client.into(), key, message: message.into() }
}

fn forget(client: &str) -> SessionChange {
    SessionChange::Forget { client: client.into() }
}

fn saved(client: &str, document: &'static str, pending: &[(u64, &'static str)]) -> SavedSession {
    let pending = pending.iter().map(|(key, message)| (*key, Bytes::from(*message))).collect();
    SavedSession { client: client.into(), gateway: ME.into(), document: document.into(), pending }
}

pub(crate) async fn sessions_are_loaded_as_saved<K: Kind<Port: Sessions>>() {
    let kind = K::fresh(wide()).await;
    assert!(kind.port().load_all(ME).await.unwrap().is_empty());
    let changes = vec![save("b", "1"), save("a", "2"), keep("b", 5, "x"), save("b", "3")];
    kind.port().change(ME, changes).await.unwrap();
    kind.port().change(ME, Vec::new()).await.unwrap();
    let expected = [saved("a", "2", &[]), saved("b", "3", &[(5, "x")])];
    assert_eq!(kind.port().load_all(ME).await.unwrap(), expected);
}

pub(crate) async fn sessions_survive_a_reopen<K: Kind<Port: Sessions>>() {
    let kind = K::fresh(wide()).await;
    kind.port()
        .change(ME, vec![save("a", "1"), keep("a", 1, "x"), keep("a", 2, "")])
        .await
        .unwrap();
    let Some(kind) = kind.reopen().await else { return };
    let expected = [saved("a", "1", &[(1, "x"), (2, "")])];
    assert_eq!(kind.port().load_all(ME).await.unwrap(), expected);
}

pub(crate) async fn forgetting_takes_the_messages_along<K: Kind<Port: Sessions>>() {
    let kind = K::fresh(wide()).await;
    let keys = [0, 1, u64::MAX];
    let mut changes = vec![save("a", "1"), save("b", "1"), keep("b", 1, "stays")];
    changes.extend(keys.map(|key| keep("a", key, "x")));
    kind.port().change(ME, changes).await.unwrap();
    kind.port().change(ME, vec![forget("a"), forget("nobody"), save("a", "2")]).await.unwrap();
    let expected = [saved("a", "2", &[]), saved("b", "1", &[(1, "stays")])];
    assert_eq!(kind.port().load_all(ME).await.unwrap(), expected);
}

pub(crate) async fn a_message_of_an_unknown_client_is_not_kept<K: Kind<Port: Sessions>>() {
    let kind = K::fresh(wide()).await;
    kind.port().change(ME, vec![keep("a", 1, "x"), save("a", "1"), forget("a")]).await.unwrap();
    kind.port().change(ME, vec![keep("a", 1, "x"), save("a", "2")]).await.unwrap();
    assert_eq!(kind.port().load_all(ME).await.unwrap(), [saved("a", "2", &[])]);
}

pub(crate) async fn keys_keep_their_order_and_replace<K: Kind<Port: Sessions>>() {
    let kind = K::fresh(wide()).await;
    let mut changes = vec![save("a", "1")];
    changes.extend([300, 2, 1, 256].map(|key| keep("a", key, "x")));
    changes.push(keep("a", 2, "y"));
    let drop = |key| SessionChange::Drop { client: "a".into(), key };
    changes.extend([drop(1), drop(7)]);
    kind.port().change(ME, changes).await.unwrap();
    let expected = [saved("a", "1", &[(2, "y"), (256, "x"), (300, "x")])];
    assert_eq!(kind.port().load_all(ME).await.unwrap(), expected);
}

pub(crate) async fn nasty_clients_do_not_mix<K: Kind<Port: Sessions>>() {
    let kind = K::fresh(wide()).await;
    let clients = ["", "\0", "a", "a\0", "a\0\0", "a/b", "ab", "设备", "\u{10ffff}"];
    for client in clients {
        kind.port().change(ME, vec![save(client, "1"), keep(client, 1, "x")]).await.unwrap();
    }
    let mut expected: Vec<_> = clients.iter().map(|one| saved(one, "1", &[(1, "x")])).collect();
    assert_eq!(kind.port().load_all(ME).await.unwrap(), expected);
    for client in clients {
        kind.port().change(ME, vec![forget(client)]).await.unwrap();
        expected.remove(0);
        assert_eq!(kind.port().load_all(ME).await.unwrap(), expected);
    }
}

pub(crate) async fn closed_sessions_say_so<K: Kind<Port: Sessions>>() {
    let kind = K::fresh(wide()).await;
    kind.close().await;
    let closed = |error| assert!(matches!(error, StoreError::Closed), "{error}");
    closed(kind.port().load_all(ME).await.unwrap_err());
    closed(kind.port().change(ME, vec![save("a", "1")]).await.unwrap_err());
}

pub(crate) async fn one_session_is_found<K: Kind<Port: Sessions>>() {
    let kind = K::fresh(wide()).await;
    let port = kind.port();
    port.change(ME, vec![save("a", "1"), save("b", "2"), keep("b", 1, "x")]).await.unwrap();
    let found = port.find("b").await.unwrap().unwrap();
    assert_eq!((&found.document[..], found.pending.len()), (&b"2"[..], 1));
    assert_eq!(port.find("c").await.unwrap(), None);
}

pub(crate) async fn a_session_of_another_gateway_is_left_alone<K: Kind<Port: Sessions>>() {
    let kind = K::fresh(wide()).await;
    let port = kind.port();
    port.change(ME, vec![save("a", "1"), keep("a", 1, "x")]).await.unwrap();
    let drop = SessionChange::Drop { client: "a".into(), key: 1 };
    let to = SessionChange::HandOver {
        client: "a".into(),
        to: "other".into(),
        document: "theirs".into(),
    };
    let changes = vec![save("a", "2"), keep("a", 2, "y"), drop, to, forget("a"), save("b", "1")];
    port.change("other", changes).await.unwrap();
    let expected = saved("a", "1", &[(1, "x")]);
    assert_eq!(port.find("a").await.unwrap(), Some(expected.clone()));
    assert_eq!(port.load_all(ME).await.unwrap(), [expected]);
    let others = port.load_all("other").await.unwrap();
    assert_eq!(others.iter().map(|one| &*one.client).collect::<Vec<_>>(), ["b"]);
}

pub(crate) async fn a_session_is_handed_over_as_a_whole<K: Kind<Port: Sessions>>() {
    let kind = K::fresh(wide()).await;
    let port = kind.port();
    let to = |client: &str| SessionChange::HandOver {
        client: client.into(),
        to: "other".into(),
        document: "2".into(),
    };
    let changes = vec![save("a", "1"), keep("a", 7, "x"), to("a"), to("nobody"), save("a", "3")];
    port.change(ME, changes.clone()).await.unwrap();
    // Whether they were made was not known: they are made again.
    port.change(ME, changes).await.unwrap();
    assert_eq!(port.load_all(ME).await.unwrap(), []);
    let expected = SavedSession { gateway: "other".into(), ..saved("a", "2", &[(7, "x")]) };
    assert_eq!(port.load_all("other").await.unwrap(), std::slice::from_ref(&expected));
    assert!(port.gateways().await.unwrap().contains(&"other".to_owned()));
    port.forget_gateway(ME).await.unwrap();
    assert_eq!(port.gateways().await.unwrap(), ["other"]);
    port.change("other", vec![save("a", "4")]).await.unwrap();
    let found = port.find("a").await.unwrap().unwrap();
    assert_eq!(found, SavedSession { document: "4".into(), ..expected });
    assert_eq!(port.find("nobody").await.unwrap(), None);
}
