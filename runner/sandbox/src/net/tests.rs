use std::time::Duration;

use tokio::net::TcpListener;

use std::sync::Arc;

use tokio::time::Instant;

use crate::net::dial::dial;
use crate::net::error::NetError;
use crate::net::limits::LOOKUPS;
use crate::net::network::Net;
use crate::net::scripted::{Scripted, Stuck};
use pgtq_task::{Destination, Network};

fn to(host: &str) -> Destination {
    Destination {
        host: host.to_owned(),
        port: 25,
        named: false,
    }
}

fn plugin() -> Arc<str> {
    Arc::from("mailer")
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

async fn refused(net: &Net, host: &str, networks: &[Network]) -> NetError {
    let found = net
        .resolve(&plugin(), &to(host), networks, None, soon())
        .await;
    found.expect_err("must be refused")
}

#[tokio::test]
async fn one_denied_address_denies_the_name() {
    let resolver = Scripted::new(&[("two.example", &[&["1.1.1.1", "10.0.0.1"]])]);
    let net = Net::new(resolver, 1);
    let error = refused(&net, "two.example", &[]).await;
    assert_eq!(
        error.to_string(),
        "`two.example` resolves to 10.0.0.1, a private address"
    );
    assert_eq!(
        error.grant(&[Network::Loopback]).as_deref(),
        Some(r#"networks = ["loopback", "10.0.0.1/32"]"#)
    );
    let two = to("two.example");
    let found = net
        .resolve(&plugin(), &two, &[Network::Private], None, soon())
        .await;
    let found = found.expect("granted");
    assert_eq!(found.len(), 2);
}

#[tokio::test]
async fn a_changed_answer_is_checked_before_it_is_dialled() {
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
        .resolve(&plugin(), &to, &granted, None, soon())
        .await
        .expect("granted");
    let stream = dial(&found, soon()).await.expect("a server listens");
    let peer = stream.peer_addr().expect("connected");
    assert_eq!(peer.ip().to_string(), "127.0.0.1");
    assert_eq!(resolver.asked().len(), 1, "dialling looks nothing up");
    let error = refused(&net, "a.example", &granted).await;
    assert!(matches!(error, NetError::Prohibited { .. }), "{error}");
}

#[tokio::test]
async fn a_metadata_service_is_denied_and_never_suggested() {
    let resolver = Scripted::new(&[("m.example", &[&["169.254.169.254"]])]);
    let net = Net::new(resolver, 1);
    let error = refused(&net, "m.example", &[Network::Private]).await;
    assert_eq!(error.grant(&[]), None);
    let error = refused(&net, "[::ffff:a9fe:a9fe]", &[]).await;
    assert_eq!(error.grant(&[]), None);
}

#[tokio::test]
async fn a_disguised_address_is_not_looked_up() {
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
async fn a_connection_beyond_its_plugins_share_waits_until_the_deadline() {
    let net = Net::new(Scripted::new(&[]), 1);
    let permit = net.connection(&plugin(), soon()).await.expect("a permit");
    let error = net.connection(&plugin(), Instant::now()).await;
    let error = error.expect_err("it is taken");
    assert!(matches!(error, NetError::NoConnection));
    drop(permit);
    assert!(
        net.connection(&plugin(), soon()).await.is_ok(),
        "free again"
    );
}

#[tokio::test]
async fn unanswered_lookups_take_only_their_share_of_threads() {
    let (resolver, let_go) = Stuck::new();
    let net = Net::new(resolver.clone(), 1);
    let (name, dead) = (plugin(), to("dead.example"));
    let share = 14;
    let late = Instant::now() + Duration::from_millis(300);
    let all = (0..LOOKUPS).map(|_| net.resolve(&name, &dead, &[], None, late));
    let all = futures_util::future::join_all(all).await;
    let is = |wanted: fn(&NetError) -> bool| {
        let errors = all.iter().filter_map(|found| found.as_ref().err());
        errors.filter(|error| wanted(error)).count()
    };
    assert_eq!(is(|error| matches!(error, NetError::Timeout)), share);
    assert_eq!(
        is(|error| matches!(error, NetError::NoLookup)),
        LOOKUPS - share
    );
    // The lookups were abandoned, and their threads still wait.
    let late = Instant::now() + Duration::from_millis(300);
    let error = net.resolve(&name, &dead, &[], None, late).await;
    let error = error.expect_err("no thread is left");
    assert!(matches!(error, NetError::NoLookup), "{error}");
    assert!(resolver.asked() <= share);
    // Another plugin has a thread at once: it reaches the name server.
    let other: Arc<str> = Arc::from("other");
    let error = net.resolve(&other, &dead, &[], None, soon_after(300)).await;
    let error = error.expect_err("no server answers");
    assert!(matches!(error, NetError::Timeout), "{error}");
    assert_eq!(resolver.asked(), share + 1);
    drop(let_go);
    let error = refused(&net, "dead.example", &[]).await;
    assert!(matches!(error, NetError::Lookup { .. }), "{error}");
}

fn soon_after(millis: u64) -> Instant {
    Instant::now() + Duration::from_millis(millis)
}
