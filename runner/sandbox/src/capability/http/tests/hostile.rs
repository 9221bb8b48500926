use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::server::{Conn, Server};
use super::*;
use crate::net::scripted::{Scripted, Stuck};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

/// Writes `piece` without end, with a pause between two.
async fn drip(mut conn: Conn, head: &'static [u8], piece: &'static [u8], pause: u64) {
    conn.write_all(head).await.ok();
    let mut clock = tokio::time::interval(Duration::from_millis(pause.max(1)));
    loop {
        if pause > 0 {
            clock.tick().await;
        }
        if conn.write_all(piece).await.is_err() {
            return;
        }
        conn.flush().await.ok();
    }
}

fn limited(change: impl FnOnce(&mut Limits)) -> Setup {
    let mut setup = local();
    change(&mut setup.limits);
    setup
}

async fn error(asker: &Asker, url: &str, options: RequestOptions) -> Error {
    let answer = asker.ask(request("GET", url, ""), options).await;
    answer.expect_err("must fail")
}

#[tokio::test]
async fn an_endless_body_ends_at_the_budget() {
    let server = Server::start(None, |conn| drip(conn, HEAD, &[b'x'; 4096], 0)).await;
    let asker = limited(|limits| limits.http_bytes = 1 << 20).asker();
    let error = error(&asker, &server.url("/"), RequestOptions::default()).await;
    assert!(
        matches!(error, Error::HttpResponseBodySize(Some(n)) if n == 1 << 20),
        "{error}"
    );
    assert!(asker.log().contains("raise `limits.http_bytes`"));
    // The budget is the attempt's, so nothing more is transferred.
    let answer = asker.get(&server.url("/")).await;
    answer.expect_err("nothing is left");
}

#[tokio::test]
async fn a_response_larger_than_the_budget_is_an_error_value() {
    let body = "x".repeat(100_000);
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n";
    let server = Server::answering(format!("{head}{body}")).await;
    let asker = limited(|limits| limits.http_bytes = 50_000).asker();
    let error = error(&asker, &server.url("/"), RequestOptions::default()).await;
    assert!(
        matches!(error, Error::HttpResponseBodySize(Some(50_000))),
        "{error}"
    );
}

#[tokio::test]
async fn a_request_larger_than_the_budget_is_an_error_value() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let asker = limited(|limits| limits.http_bytes = 50_000).asker();
    let body = "x".repeat(100_000);
    let post = request("POST", &server.url("/"), &body);
    let answer = asker.ask(post, RequestOptions::default()).await;
    let error = answer.expect_err("must fail");
    assert!(
        matches!(error, Error::HttpRequestBodySize(Some(50_000))),
        "{error}"
    );
}

#[tokio::test]
async fn a_dripping_server_is_dropped_at_the_deadline() {
    let server = Server::start(None, |conn| drip(conn, HEAD, b"x", 5)).await;
    let asker = limited(|limits| limits.timeout = Duration::from_millis(200)).asker();
    // Every pause is short; the total is too long.
    let error = error(&asker, &server.url("/"), patience(60_000)).await;
    assert!(matches!(error, Error::HttpResponseTimeout), "{error}");
}

#[tokio::test]
async fn a_dripping_head_is_dropped_at_its_time_limit() {
    let serve = |conn| drip(conn, b"HTTP/1.1 200 OK\r\nx: ", b"x", 5);
    let server = Server::start(None, serve).await;
    let asker = local().asker();
    let error = error(&asker, &server.url("/"), patience(100)).await;
    assert!(matches!(error, Error::ConnectionReadTimeout), "{error}");
}

#[tokio::test]
async fn a_silent_body_is_dropped_at_its_time_limit() {
    let serve = |conn| drip(conn, HEAD, b"x", 600_000);
    let server = Server::start(None, serve).await;
    let asker = local().asker();
    let error = error(&asker, &server.url("/"), patience(100)).await;
    assert!(matches!(error, Error::ConnectionReadTimeout), "{error}");
}

#[tokio::test]
async fn a_steady_body_is_not_cut_off() {
    let serve = |mut conn: Conn| async move {
        conn.write_all(HEAD).await.ok();
        let mut clock = tokio::time::interval(Duration::from_millis(50));
        for _ in 0..30 {
            clock.tick().await;
            conn.write_all(b"x").await.ok();
        }
    };
    let server = Server::start(None, serve).await;
    // The total takes longer than any single pause may.
    let get = request("GET", &server.url("/"), "");
    let answer = local().asker().ask(get, patience(1_000)).await;
    assert_eq!(answer.expect("an answer").body.len(), 30);
}

#[tokio::test]
async fn a_timeout_without_end_ends_with_the_attempt() {
    let serve = |mut conn: Conn| async move {
        conn.read_to_end(&mut Vec::new()).await.ok();
    };
    let server = Server::start(None, serve).await;
    let asker = limited(|limits| limits.timeout = Duration::from_millis(100)).asker();
    let error = error(&asker, &server.url("/"), patience(u64::MAX)).await;
    assert!(matches!(error, Error::HttpResponseTimeout), "{error}");
}

#[tokio::test]
async fn a_flood_of_headers_is_an_error_value() {
    let head = b"HTTP/1.1 200 OK\r\n";
    let many = Server::start(None, |conn| drip(conn, head, b"a: b\r\n", 0)).await;
    let asker = local().asker();
    let error_of_many = error(&asker, &many.url("/"), RequestOptions::default()).await;
    let long = Server::start(None, |conn| {
        drip(conn, b"HTTP/1.1 200 OK\r\na: ", b"bbbb", 0)
    })
    .await;
    let error_of_long = error(&asker, &long.url("/"), RequestOptions::default()).await;
    for error in [error_of_many, error_of_long] {
        assert!(
            matches!(error, Error::HttpResponseHeaderSectionSize(_)),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_an_error_value() {
    for (answer, wanted) in [
        ("SSH-2.0-OpenSSH_9.9\r\n", "HTTP protocol error"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
            "incomplete HTTP response",
        ),
        ("", "incomplete HTTP response"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            "HTTP upgrade failed",
        ),
    ] {
        let server = Server::answering(answer).await;
        let asker = local().asker();
        let error = error(&asker, &server.url("/"), RequestOptions::default()).await;
        assert_eq!(error.to_string(), wanted, "{answer}");
    }
}

#[test]
fn a_line_break_in_a_header_never_leaves_the_guest() {
    // wasi:http makes its headers with the same function.
    for value in ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\0b"] {
        http::HeaderValue::from_bytes(value.as_bytes()).expect_err("must be refused");
    }
}

#[tokio::test]
async fn a_connection_ends_with_its_attempt() {
    let (closed, mut is_closed) = mpsc::channel::<()>(1);
    let serve = move |mut conn: Conn| {
        let closed = closed.clone();
        async move {
            conn.write_all(HEAD).await.ok();
            conn.read_to_end(&mut Vec::new()).await.ok();
            closed.send(()).await.ok();
        }
    };
    let server = Server::start(None, serve).await;
    let asker = local().asker();
    let get = request("GET", &server.url("/"), "");
    let begun = asker.begin(get, RequestOptions::default()).await;
    let begun = begun.expect("an answer");
    drop(begun);
    is_closed.recv().await.expect("the server sees the end");
}

#[tokio::test]
async fn a_thousand_connections_wait_for_the_share_of_their_plugin() {
    let serve = |mut conn: Conn| async move {
        conn.write_all(HEAD).await.ok();
        conn.read_to_end(&mut Vec::new()).await.ok();
    };
    let server = Server::start(None, serve).await;
    let mut setup = limited(|limits| {
        limits.http_requests = 1_000;
        limits.timeout = Duration::from_millis(500);
    });
    setup.connections = 17;
    let asker = setup.asker();
    let all = (0..1_000).map(|_| async {
        let get = request("GET", &server.url("/"), "");
        asker.begin(get, RequestOptions::default()).await
    });
    let all = futures_util::future::join_all(all).await;
    let (held, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    assert_eq!((held.len(), refused.len()), (8, 992));
    for refused in refused {
        let Err(error) = refused else {
            panic!("was not refused");
        };
        assert!(matches!(error, Error::ConnectionLimitReached), "{error}");
    }
    assert_eq!(server.seen().len(), 8);
}

#[tokio::test]
async fn requests_of_one_plugin_never_block_another() {
    let serve = |mut conn: Conn| async move {
        conn.write_all(HEAD).await.ok();
        conn.read_to_end(&mut Vec::new()).await.ok();
    };
    let server = Server::start(None, serve).await;
    let net = RunnerNet::new(Scripted::new(&[]), 12);
    let get = || request("GET", &server.url("/"), "");
    let mut held = Vec::new();
    // Many attempts, each of which takes what it gets.
    for _ in 0..6 {
        let asker = local().asker_in("greedy", &net);
        held.push(asker.begin(get(), RequestOptions::default()).await);
    }
    assert!(held.iter().all(Result::is_ok));
    let mut setup = limited(|limits| limits.timeout = Duration::from_millis(100));
    setup.needs.http = local().needs.http;
    let greedy = setup.asker_in("greedy", &net);
    let Err(error) = greedy.begin(get(), RequestOptions::default()).await else {
        panic!("more than its share");
    };
    assert!(matches!(error, Error::ConnectionLimitReached), "{error}");
    assert!(greedy.log().contains("its share of the runner's"));
    let other = local().asker_in("other", &net);
    let answer = other.begin(get(), RequestOptions::default()).await;
    assert!(answer.is_ok(), "a place at once");
}

#[tokio::test]
async fn an_attempt_has_a_limit_of_concurrent_requests() {
    let serve = |mut conn: Conn| async move {
        conn.write_all(HEAD).await.ok();
        conn.read_to_end(&mut Vec::new()).await.ok();
    };
    let server = Server::start(None, serve).await;
    let mut setup = local();
    setup.connections = 100;
    let asker = setup.asker();
    let get = || request("GET", &server.url("/"), "");
    let mut held = Vec::new();
    for _ in 0..16 {
        let begun = asker.begin(get(), patience(60_000)).await;
        held.push(begun.expect("an answer"));
    }
    let Err(error) = asker.begin(get(), patience(50)).await else {
        panic!("was not refused");
    };
    assert!(matches!(error, Error::ConnectionLimitReached), "{error}");
    assert!(asker.log().contains("16 HTTP requests in progress"));
    let (next, ()) = tokio::join!(asker.begin(get(), patience(60_000)), async {
        held.pop();
    });
    next.expect("room again");
}

#[tokio::test]
async fn abandoned_lookups_hold_no_extra_threads() {
    let (resolver, _let_go) = Stuck::new();
    let mut setup = limited(|limits| limits.timeout = Duration::from_millis(300));
    setup.resolver = Arc::clone(&resolver) as _;
    setup.connections = 100;
    let asker = setup.asker();
    // Twice, because the first ones are dropped when the second ones start.
    for _ in 0..2 {
        let all =
            (0..40).map(|_| asker.begin(request("GET", "http://a.example/", ""), patience(100)));
        let all = futures_util::future::join_all(all).await;
        assert!(all.iter().all(Result::is_err));
    }
    assert!(resolver.asked() <= 16, "{}", resolver.asked());
}
