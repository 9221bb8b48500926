use super::server::Server;
use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A request with this header.
fn with_header(url: &str, value: &str) -> http::Request<Body> {
    let mut request = request("GET", url, "");
    let value = http::HeaderValue::from_str(value).expect("a value");
    request.headers_mut().insert("authorization", value);
    request
}

#[tokio::test]
async fn a_placeholder_is_replaced_on_the_way_out() {
    let server = Server::answering(OK).await;
    let asker = local()
        .secret("stripe", "sk_live_1", &["127.0.0.1"])
        .asker();
    let ask = with_header(
        &server.url("/"),
        "Bearer {{secret:stripe}}, {{secret:stripe}}!",
    );
    let answer = asker.ask(ask, RequestOptions::default()).await;
    answer.expect("an answer");
    let seen = server.seen().join("");
    assert!(
        seen.contains("authorization: Bearer sk_live_1, sk_live_1!\r\n"),
        "{seen}"
    );
}

#[tokio::test]
async fn braces_without_a_placeholder_are_unchanged() {
    let server = Server::answering(OK).await;
    let asker = local().asker();
    let ask = with_header(&server.url("/"), "{{other}} {{secret:half");
    asker
        .ask(ask, RequestOptions::default())
        .await
        .expect("an answer");
    assert!(
        server
            .seen()
            .join("")
            .contains("{{other}} {{secret:half\r\n")
    );
}

#[tokio::test]
async fn a_secret_is_sent_only_to_granted_hosts() {
    // A secret that got out would reach no server.
    let names: &[(&str, &[&[&str]])] = &[
        ("api.stripe.com", &[&["192.0.2.1"]]),
        ("evil.example", &[&["192.0.2.1"]]),
    ];
    let setup = || {
        let mut setup = open().secret("stripe", "sk_live_1", &["api.stripe.com"]);
        setup.resolver = Scripted::new(names);
        setup.grant.networks = rules(&["192.0.2.0/24"]);
        setup.limits.timeout = Duration::from_secs(2);
        setup
    };
    let mut words = String::new();
    let mut case = async |name: &str, setup: Setup, url: &str, value: &str| {
        let refused = setup.asker().refused(with_header(url, value)).await;
        assert!(!refused.contains("sk_live_1"), "{refused}");
        words += &format!(
            "{name}:\n    {}\n",
            refused.trim_end().replace('\n', "\n    ")
        );
    };
    let stripe = "{{secret:stripe}}";
    case(
        "a host that is not granted",
        setup(),
        "https://evil.example/",
        stripe,
    )
    .await;
    case(
        "a host without TLS",
        setup(),
        "http://api.stripe.com/",
        stripe,
    )
    .await;
    case(
        "a secret nobody knows",
        setup(),
        "https://api.stripe.com/",
        "{{secret:other}}",
    )
    .await;
    let mut unasked = setup();
    unasked.needs.secrets.clear();
    case("not asked for", unasked, "https://api.stripe.com/", stripe).await;
    let mut readable = setup();
    readable
        .grant
        .secrets
        .entry("stripe".into())
        .or_default()
        .read = true;
    case(
        "readable, another host",
        readable,
        "https://evil.example/",
        stripe,
    )
    .await;
    let mut lost = setup();
    lost.secrets.clear();
    case("without a value", lost, "https://api.stripe.com/", stripe).await;
    let mut broken = setup();
    broken
        .secrets
        .insert("stripe".into(), Secret::new("a\r\nx-evil: 1"));
    case(
        "with a line break in it",
        broken,
        "https://api.stripe.com/",
        stripe,
    )
    .await;
    insta::assert_snapshot!("secrets", words);
}

#[tokio::test]
async fn a_secret_in_a_url_is_redacted_in_the_log() {
    let asker = open().secret("stripe", "sk/live/1", &["a.example"]).asker();
    let refused = asker
        .refused(request("GET", "http://127.0.0.1/x/sk/live/1", ""))
        .await;
    assert!(refused.contains("/x/[secret:stripe]"), "{refused}");
}

#[tokio::test]
async fn a_secret_is_not_sent_by_an_echoing_method() {
    let server = Server::answering(OK).await;
    for method in ["TRACE", "TRACK"] {
        let setup = local().secret("stripe", "sk_live_1", &["127.0.0.1"]);
        let mut ask = with_header(&server.url("/"), "Bearer {{secret:stripe}}");
        *ask.method_mut() = method.parse().expect("a method");
        let refused = setup.asker().refused(ask).await;
        let words = format!(
            "HTTP request denied\ndenied the secret `stripe` in {method} {}: servers echo \
             such a request; use another method",
            server.url("/")
        );
        assert_eq!(refused, words);
    }
    assert_eq!(server.seen(), [] as [&str; 0]);
}
