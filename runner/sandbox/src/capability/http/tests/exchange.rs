use super::server::{Conn, Server, authority, tls};
use super::*;
use crate::capability::http::fake::{FakeRequest, FakeResponse};
use tokio::io::AsyncWriteExt;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: b\r\n\r\nhello";

#[tokio::test]
async fn a_granted_request_is_answered() {
    let server = Server::answering(OK).await;
    let asker = local().asker();
    let url = server.url("/v1/things?n=1");
    let mut post = request("POST", &url, r#"{"a":1}"#);
    let headers = post.headers_mut();
    headers.insert("x-mine", http::HeaderValue::from_static("yes"));
    // The guest cannot set it; bypassing that changes nothing.
    headers.insert("host", http::HeaderValue::from_static("evil.example"));
    let answer = asker.ask(post, RequestOptions::default()).await;
    let answer = answer.expect("an answer");
    assert_eq!((answer.status, &*answer.body), (200, &b"hello"[..]));
    assert_eq!(answer.headers["x-a"], "b");
    let seen = server.seen().join("");
    assert!(
        seen.starts_with("POST /v1/things?n=1 HTTP/1.1\r\n"),
        "{seen}"
    );
    assert!(
        seen.contains(&format!("host: 127.0.0.1:{}\r\n", server.port)),
        "{seen}"
    );
    assert!(!seen.contains("connection:") && seen.contains("x-mine: yes\r\n"));
    assert!(
        seen.ends_with(r#"{"a":1}"#) && !seen.contains("evil"),
        "{seen}"
    );
    assert_eq!(asker.log(), "");
}

#[tokio::test]
async fn a_request_has_a_default_user_agent() {
    let server = Server::answering(OK).await;
    let asker = local().asker();
    asker.get(&server.url("/")).await.expect("an answer");
    let mut own = request("GET", &server.url("/"), "");
    let agent = http::HeaderValue::from_static("mine/2");
    own.headers_mut().insert("user-agent", agent);
    let answer = asker.ask(own, RequestOptions::default()).await;
    answer.expect("an answer");
    let seen = server.seen();
    let agent = format!("user-agent: pgtq/{}\r\n", env!("CARGO_PKG_VERSION"));
    assert!(seen[0].contains(&agent), "{seen:?}");
    assert!(seen[1].contains("user-agent: mine/2\r\n"), "{seen:?}");
    assert_eq!(seen[1].matches("user-agent").count(), 1, "{seen:?}");
}

#[tokio::test]
async fn a_rule_that_names_the_address_needs_no_network() {
    let server = Server::answering(OK).await;
    let mut setup = bare();
    let rule = format!("GET http://127.0.0.1:{}/", server.port);
    setup.needs.http = rules(&["http://*:*"]);
    setup.grant.http = rules(&["http://*:*", &rule]);
    let answer = setup.asker().get(&server.url("/")).await;
    assert_eq!(answer.expect("an answer").status, 200);
}

#[tokio::test]
async fn tls_checks_the_name_against_the_authorities() {
    let serve = |mut conn: Conn| async move {
        conn.write_all(OK.as_bytes()).await.ok();
        conn.shutdown().await.ok();
    };
    let server = Server::start(Some(tls()), serve).await;
    let names: &[(&str, &[&[&str]])] = &[
        ("secure.example", &[&["127.0.0.1"]]),
        ("other.example", &[&["127.0.0.1"]]),
    ];
    let mut setup = local();
    setup.resolver = Scripted::new(names);
    let asker = setup.asker();
    asker.net.trust(authority());
    let url = |host: &str| format!("https://{host}:{}/", server.port);
    let answer = asker.get(&url("secure.example")).await;
    assert_eq!(answer.expect("an answer").body, b"hello");
    let answer = asker.get(&url("127.0.0.1")).await;
    assert_eq!(answer.expect("an answer").body, b"hello");
    let seen = server.seen().join("");
    assert!(seen.contains(&format!("host: secure.example:{}\r\n", server.port)));
    let error = asker
        .get(&url("other.example"))
        .await
        .expect_err("the name is wrong");
    assert!(matches!(error, Error::TlsCertificateError), "{error}");
    assert!(
        asker.log().contains("other.example"),
        "the log says what is wrong"
    );

    let mut stranger = local();
    stranger.resolver = Scripted::new(names);
    let stranger = stranger.asker();
    stranger.net.trust({
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    });
    let error = stranger
        .get(&url("secure.example"))
        .await
        .expect_err("nobody knows it");
    assert!(matches!(error, Error::TlsCertificateError), "{error}");
}

#[tokio::test]
async fn a_redirect_to_a_metadata_address_is_denied_when_followed() {
    let metadata = "http://169.254.169.254/latest/";
    let server = Server::answering(format!(
        "HTTP/1.1 302 Found\r\nlocation: {metadata}\r\ncontent-length: 0\r\n\r\n"
    ))
    .await;
    let asker = local().asker();
    let answer = asker.get(&server.url("/")).await.expect("an answer");
    assert_eq!(
        (answer.status, answer.headers["location"].to_str().ok()),
        (302, Some(metadata))
    );
    let error = asker.get(metadata).await.expect_err("must be refused");
    assert!(matches!(error, Error::DestinationIpProhibited), "{error}");
}

#[tokio::test]
async fn changed_dns_answers_are_checked_for_every_request() {
    let server = Server::answering(OK).await;
    let mut setup = open();
    setup.grant.networks = rules(&["127.0.0.1/32"]);
    let resolver = Scripted::new(&[("a.example", &[&["127.0.0.1"], &["127.0.0.2"]])]);
    setup.resolver = resolver.clone();
    let asker = setup.asker();
    let url = format!("http://a.example:{}/", server.port);
    asker.get(&url).await.expect("an answer");
    assert_eq!(resolver.asked(), ["a.example"], "looked up once");
    let error = asker.get(&url).await.expect_err("must be refused");
    assert!(matches!(error, Error::DestinationIpProhibited), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_refused_connection_is_an_error_value() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let address = listener.expect("listen").local_addr().expect("an address");
    let asker = local().asker();
    let error = asker.get(&format!("http://{address}/")).await;
    let error = error.expect_err("nobody listens");
    assert!(matches!(error, Error::ConnectionRefused), "{error}");
}

#[derive(Debug)]
struct Echo;

impl FakeHttp for Echo {
    fn answer(&self, request: FakeRequest) -> Result<FakeResponse, String> {
        if request.url.ends_with("/down") {
            return Err("the wire is cut".to_owned());
        }
        Ok(FakeResponse {
            status: 201,
            headers: vec![("x-method".to_owned(), request.method)],
            body: [request.url.as_bytes(), b" ", &*request.body].concat(),
        })
    }
}

#[tokio::test]
async fn a_fake_answers_allowed_requests() {
    let mut setup = bare();
    setup.needs.http = rules(&["https://api.example.com/v1/"]);
    setup.grant.http = setup.needs.http.clone();
    setup.fake = Some(Arc::new(Echo));
    let asker = setup.asker();
    let post = request("POST", "https://API.example.com./v1/a?b=c", "body");
    let answer = asker.ask(post, RequestOptions::default()).await;
    let answer = answer.expect("an answer");
    assert_eq!(
        (answer.status, answer.headers["x-method"].to_str().ok()),
        (201, Some("POST"))
    );
    assert_eq!(answer.body, b"https://api.example.com/v1/a?b=c body");
    let error = asker.get("https://api.example.com/v1/down").await;
    let error = error.expect_err("the fake says so");
    assert!(error.to_string().contains("the wire is cut"), "{error}");
    let error = asker.get("https://api.example.com/v2").await;
    let error = error.expect_err("not granted");
    assert!(matches!(error, Error::HttpRequestDenied), "{error}");
}
