//! Connections that serve a second request, and those that must not.

use tokio::io::AsyncWriteExt;

use super::server::{Conn, Server, authority, read, tls};
use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// Answers any number of requests. Only the first request of a connection is recorded:
/// their number is the number of connections.
async fn patient(mut conn: Conn) {
    loop {
        conn.write_all(OK).await.ok();
        conn.flush().await.ok();
        if read(&mut conn).await.is_empty() {
            return;
        }
    }
}

/// Waits until a connection is kept, which happens concurrently.
async fn kept(idle: &Idle, n: usize) {
    while idle.len() != n {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_connection_serves_the_next_request_once_its_answer_was_read() {
    let server = Server::start(None, patient).await;
    let asker = local().asker();
    for _ in 0..3 {
        let answer = asker.get(&server.url("/")).await.expect("an answer");
        assert_eq!(answer.body, b"hello");
        kept(&asker.idle, 1).await;
    }
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_connection_with_tls_serves_the_next_request() {
    let server = Server::start(Some(tls()), patient).await;
    let asker = local().asker();
    asker.net.trust(authority());
    let url = format!("https://127.0.0.1:{}/", server.port);
    for _ in 0..2 {
        asker.get(&url).await.expect("an answer");
        kept(&asker.idle, 1).await;
    }
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn bytes_over_a_kept_connection_count_for_its_current_attempt() {
    let server = Server::start(None, patient).await;
    let mut setup = local();
    // Enough for one answer with its head, and not for two.
    setup.limits.http_bytes = 150;
    let asker = setup.asker();
    asker.get(&server.url("/")).await.expect("an answer");
    kept(&asker.idle, 1).await;
    let error = asker.get(&server.url("/")).await.expect_err("too much");
    let too_much = matches!(
        error,
        Error::HttpRequestBodySize(_) | Error::HttpResponseBodySize(_)
    );
    assert!(too_much, "{error}");
    assert_eq!(asker.idle.len(), 0, "and the connection is closed");
}

#[tokio::test]
async fn a_connection_is_never_reused_across_plugins_or_grants() {
    let server = Server::start(None, patient).await;
    let net = RunnerNet::new(Scripted::new(&[]), 10);
    for (n, plugin) in ["a", "b", "a"].into_iter().enumerate() {
        // Each has its own grant book.
        let asker = local().asker_in(plugin, &net);
        asker.get(&server.url("/")).await.expect("an answer");
        assert_eq!(server.seen().len(), n + 1, "{plugin}");
        kept(&net.idle, [1, 2, 2][n]).await;
    }
}

#[tokio::test]
async fn a_connection_with_an_unread_answer_is_closed() {
    let server = Server::start(None, patient).await;
    let asker = local().asker();
    for n in 1..3 {
        let get = request("GET", &server.url("/"), "");
        let begun = asker.begin(get, RequestOptions::default()).await;
        drop(begun.expect("an answer"));
        assert_eq!(server.seen().len(), n);
    }
    assert_eq!(asker.idle.len(), 0);
}

#[tokio::test]
async fn a_connection_closed_by_its_server_is_replaced() {
    let serve = |mut conn: Conn| async move {
        conn.write_all(OK).await.ok();
        conn.shutdown().await.ok();
    };
    let server = Server::start(None, serve).await;
    let asker = local().asker();
    for n in 1..6 {
        let post = request("POST", &server.url("/"), "body");
        let answer = asker.ask(post, RequestOptions::default()).await;
        assert_eq!(answer.expect("an answer").body, b"hello");
        assert_eq!(server.seen().len(), n);
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_when_another_plugin_needs_it() {
    let server = Server::start(None, patient).await;
    let net = RunnerNet::new(Scripted::new(&[]), 1);
    let first = local().asker_in("a", &net);
    first.get(&server.url("/")).await.expect("an answer");
    kept(&net.idle, 1).await;
    let second = local().asker_in("b", &net);
    second.get(&server.url("/")).await.expect("an answer");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn few_connections_are_kept_for_one_plugin() {
    let server = Server::start(None, patient).await;
    let mut setup = local();
    setup.connections = 100;
    let asker = setup.asker();
    let url = server.url("/");
    let all = (0..16).map(|_| asker.get(&url));
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(Result::is_ok));
    kept(&asker.idle, 8).await;
}
