//! Requests through the operator's proxy, and requests that bypass it.

use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use super::server::{Conn, Server, authority, tls};
use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// A plugin that may reach any name, but only public addresses.
fn behind(proxy: &Server, credentials: &str) -> Setup {
    let mut setup = open();
    let text = format!("http://{credentials}127.0.0.1:{}", proxy.port);
    setup.proxy = Some(text.parse().expect("a proxy"));
    setup
}

#[tokio::test]
async fn a_proxy_gets_the_full_url_and_the_name_is_not_resolved() {
    let proxy = Server::answering(OK).await;
    let resolver = Scripted::new(&[]);
    let mut setup = behind(&proxy, "me:secret@");
    setup.resolver = resolver.clone();
    let asker = setup.asker();
    let answer = asker.get("http://api.example.com/v1?a=b").await;
    assert_eq!(answer.expect("an answer").body, b"hello");
    let seen = proxy.seen().remove(0);
    assert!(
        seen.starts_with("GET http://api.example.com/v1?a=b HTTP/1.1\r\n"),
        "{seen}"
    );
    assert!(seen.contains("host: api.example.com\r\n"), "{seen}");
    assert!(
        seen.contains("proxy-authorization: Basic bWU6c2VjcmV0\r\n"),
        "{seen}"
    );
    assert!(resolver.asked().is_empty());
}

#[tokio::test]
async fn a_proxy_tunnels_tls_to_the_requested_name() {
    let server = Server::start(Some(tls()), |mut conn: Conn| async move {
        conn.write_all(OK).await.ok();
        conn.shutdown().await.ok();
    })
    .await;
    let port = server.port;
    let proxy = Server::start(None, move |mut conn: Conn| async move {
        conn.write_all(b"HTTP/1.1 200 Connection established\r\nx: y\r\n\r\n")
            .await
            .ok();
        let mut to = TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("the server");
        copy_bidirectional(&mut conn, &mut to).await.ok();
    })
    .await;
    let asker = behind(&proxy, "me:secret@").asker();
    asker.net.trust(authority());
    let answer = asker.get("https://secure.example/v1").await;
    assert_eq!(answer.expect("an answer").body, b"hello");
    let seen = proxy.seen().remove(0);
    assert!(
        seen.starts_with("CONNECT secure.example:443 HTTP/1.1\r\nhost: secure.example:443\r\n"),
        "{seen}"
    );
    assert!(seen.contains("Basic bWU6c2VjcmV0"), "{seen}");
    // The server sees the path, and nothing about the proxy.
    let seen = server.seen().remove(0);
    assert!(seen.starts_with("GET /v1 HTTP/1.1\r\n"), "{seen}");
    assert!(!seen.contains("proxy-"), "{seen}");
}

#[tokio::test]
async fn a_refusing_proxy_is_named_without_its_password() {
    let proxy = Server::answering(&b"HTTP/1.1 403 Forbidden\r\n\r\n"[..]).await;
    let asker = behind(&proxy, "me:secret@").asker();
    let refused = asker
        .refused(request("GET", "https://secure.example/", ""))
        .await;
    assert!(
        refused.contains("it answered `HTTP/1.1 403 Forbidden` to CONNECT secure.example:443"),
        "{refused}"
    );
    assert!(!refused.contains("secret@"), "{refused}");
}

#[tokio::test]
async fn addresses_and_names_of_this_machine_never_go_to_the_proxy() {
    let proxy = Server::answering(OK).await;
    let asker = behind(&proxy, "").asker();
    for url in [
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://10.1.2.3/",
        "http://169.254.169.254/latest/",
        "http://2130706433/",
        "http://localhost/",
        "http://x.localhost/",
    ] {
        let refused = asker.get(url).await;
        assert!(refused.is_err(), "{url}");
    }
    assert!(proxy.seen().is_empty());
    // Rules apply as without a proxy.
    let mut setup = behind(&proxy, "");
    setup.grant.http = rules(&["http://a.example"]);
    let refused = setup.asker().get("http://b.example/").await;
    assert!(matches!(refused, Err(Error::HttpRequestDenied)));
    assert!(proxy.seen().is_empty());
}
