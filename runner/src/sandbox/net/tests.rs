use std::time::Duration;

use tokio::net::TcpListener;

use super::scripted::{Scripted, Stuck};
use super::*;

fn to(host: &str) -> Destination {
    Destination {
        host: host.to_owned(),
        port: 25,
        named: false,
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

async fn refused(net: &Net, host: &str, networks: &[Network]) -> NetError {
    let found = net.resolve(&to(host), networks, None, soon()).await;
    found.expect_err("must be refused")
}

#[tokio::test]
async fn one_bad_address_among_good_ones_refuses_the_name() {
    let resolver = Scripted::new(&[("two.example", &[&["1.1.1.1", "10.0.0.1"]])]);
    let net = Net::new(resolver, 1);
    let error = refused(&net, "two.example", &[]).await;
    assert_eq!(
        error.to_string(),
        "`two.example` leads to 10.0.0.1, a private address"
    );
    assert_eq!(
        error.grant(&[Network::Loopback]).as_deref(),
        Some(r#"networks = ["loopback", "private"] # or only "10.0.0.1/32""#)
    );
    let two = to("two.example");
    let found = net.resolve(&two, &[Network::Private], None, soon()).await;
    let found = found.expect("granted");
    assert_eq!(found.len(), 2);
}

#[tokio::test]
async fn an_answer_that_changes_is_checked_anew_and_never_dialled_unchecked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let port = listener.local_addr().expect("an address").port();
    let resolver = Scripted::new(&[("a.example", &[&["127.0.0.1"], &["127.0.0.2"]])]);
    let net = Net::new(resolver.clone(), 1);
    let granted = ["127.0.0.1/32".parse().expect("a network")];
    let to = Destination {
        port,
        ..to("a.example")
    };
    let found = net
        .resolve(&to, &granted, None, soon())
        .await
        .expect("granted");
    let stream = dial(&found, soon()).await.expect("somebody listens");
    let peer = stream.peer_addr().expect("connected");
    assert_eq!(peer.ip().to_string(), "127.0.0.1");
    assert_eq!(resolver.asked().len(), 1, "dialling looks nothing up");
    let error = refused(&net, "a.example", &granted).await;
    assert!(matches!(error, NetError::Prohibited { .. }), "{error}");
}

#[tokio::test]
async fn a_metadata_service_is_refused_and_never_suggested() {
    let resolver = Scripted::new(&[("m.example", &[&["169.254.169.254"]])]);
    let net = Net::new(resolver, 1);
    let error = refused(&net, "m.example", &[Network::Private]).await;
    assert_eq!(error.grant(&[]), None);
    let error = refused(&net, "[::ffff:a9fe:a9fe]", &[]).await;
    assert_eq!(error.grant(&[]), None);
}

#[tokio::test]
async fn an_address_in_disguise_is_not_looked_up() {
    let resolver = Scripted::new(&[]);
    let net = Net::new(resolver.clone(), 1);
    for host in ["2130706433", "0x7f.1", "0177.0.0.1", "0"] {
        let error = refused(&net, host, &[Network::Loopback]).await;
        assert!(matches!(error, NetError::BadHost(_)), "{error}");
    }
    assert!(resolver.asked().is_empty());
}

#[tokio::test]
async fn a_name_without_addresses_or_with_too_many_is_an_error() {
    let many: Vec<String> = (0..65).map(|n| format!("1.1.1.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let resolver = Scripted::new(&[("none.example", &[&[]]), ("many.example", &[&many])]);
    let net = Net::new(resolver, 1);
    for host in ["none.example", "many.example", "unknown.example"] {
        let error = refused(&net, host, &[]).await;
        assert!(matches!(error, NetError::Lookup { .. }), "{error}");
    }
}

#[tokio::test]
async fn who_finds_no_room_waits_until_the_deadline() {
    let net = Net::new(Scripted::new(&[]), 1);
    let room = net.room(soon()).await.expect("room");
    let error = net.room(Instant::now()).await.expect_err("it is taken");
    assert!(matches!(error, NetError::NoRoom));
    drop(room);
    assert!(net.room(soon()).await.is_ok(), "room again");
}

#[tokio::test]
async fn names_that_nobody_answers_take_so_many_threads_and_no_more() {
    let (resolver, let_go) = Stuck::new();
    let net = Net::new(resolver.clone(), 1);
    let dead = to("dead.example");
    let late = Instant::now() + Duration::from_millis(300);
    let all = (0..2 * LOOKUPS).map(|_| net.resolve(&dead, &[], None, late));
    let all = futures_util::future::join_all(all).await;
    let is = |wanted: fn(&NetError) -> bool| {
        let errors = all.iter().filter_map(|found| found.as_ref().err());
        errors.filter(|error| wanted(error)).count()
    };
    assert_eq!(is(|error| matches!(error, NetError::Timeout)), LOOKUPS);
    assert_eq!(is(|error| matches!(error, NetError::NoLookup)), LOOKUPS);
    // Nobody waits for them any more, and they are still at it.
    let late = Instant::now() + Duration::from_millis(300);
    let error = net.resolve(&dead, &[], None, late).await;
    let error = error.expect_err("no thread is left");
    assert!(matches!(error, NetError::NoLookup), "{error}");
    assert!(resolver.asked() <= LOOKUPS);
    drop(let_go);
    let error = refused(&net, "dead.example", &[]).await;
    assert!(matches!(error, NetError::Lookup { .. }), "{error}");
}
