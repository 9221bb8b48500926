//! Native tests of HTTP requests and secrets; closures act as servers.

use std::io::Read;

use pgtq_sdk::prelude::*;
use pgtq_sdk::{Reply, Requested, Verdict};

#[handler(needs(http = "POST https://api.mail.example/v3/", secret = "mail"))]
fn send_mail(ctx: &Ctx, to: &str) -> Result<String> {
    let answer: Value = ctx
        .http()
        .post("https://api.mail.example/v3/messages")
        .query("dry run", "no&yes")
        .bearer(ctx.secret("mail"))
        .header("Idempotency-Key", ctx.idempotency_key())
        .json(&json!({ "to": to }))
        .timeout(secs(5))
        .send()?
        .error_for_status()?
        .json()?;
    Ok(answer["id"].as_str().unwrap_or("none").to_owned())
}

#[handler(needs(http = "https://elsewhere.example"))]
fn undeclared(ctx: &Ctx, what: &str) -> bool {
    let outcome = match what {
        "http" => ctx
            .http()
            .get("https://api.example.com:8443/a?key=1")
            .send()
            .map(|_| ()),
        "header" => ctx
            .http()
            .get("https://elsewhere.example/")
            .bearer(ctx.secret("key"))
            .send()
            .map(|_| ()),
        "secret" => ctx.secret("key").read().map(|_| ()),
        _ => ctx.sql().execute("SELECT 1", ()).map(|_| ()),
    };
    outcome.is_ok()
}

fn server(answer: impl Fn() -> Reply + 'static) -> pgtq_sdk::TestCtx {
    Ctx::test().on_http("GET", "https://a.example/*", move |_| Ok(answer()))
}

#[test]
fn the_recorded_request_has_method_url_headers_and_body() {
    let ctx = Ctx::test().idempotency_key("task-7").on_http(
        "POST",
        "https://api.mail.example/v3/messages",
        |request| {
            let letter: Value = request.json();
            Ok(Reply::json(json!({ "id": letter["to"] })).with_status(202))
        },
    );
    assert_eq!(ctx.run("send_mail", json!(["ada"])), Ok(json!("ada")));
    let [request] = &ctx.requests()[..] else {
        panic!("one request was made");
    };
    assert_eq!(
        (request.method.as_str(), request.url.as_str()),
        (
            "POST",
            "https://api.mail.example/v3/messages?dry%20run=no%26yes"
        )
    );
    assert_eq!(request.header("idempotency-key"), Some("task-7"));
    assert_eq!(request.header("Content-Type"), Some("application/json"));
    assert_eq!(request.text(), r#"{"to":"ada"}"#);
    assert_eq!(request.timeout, Some(secs(5)));
}

#[test]
fn a_secret_in_a_header_stays_a_placeholder() {
    let ctx = Ctx::test()
        .secret("mail", "s3cret")
        .on_http("*", "https://*", |_| Ok(Reply::json(json!({}))));
    ctx.run("send_mail", json!(["ada"]))
        .expect("the fake matches");
    assert_eq!(
        ctx.requests()[0].header("authorization"),
        Some("Bearer {{secret:mail}}")
    );
    let plain: &Ctx = &ctx;
    let secret = plain.secret("mail");
    assert_eq!(secret.read().expect("it is set"), "s3cret");
    assert_eq!(
        format!("{secret} {secret:?}"),
        "{{secret:mail}} Secret(mail)"
    );
}

#[test]
fn form_fields_are_percent_encoded() {
    let ctx = server(|| Reply::status(204))
        .on_http("PUT", "https://a.example/", |_| Ok(Reply::status(204)));
    let answer = ctx
        .http()
        .put("https://a.example")
        .form([("amount", "20 €"), ("a&b", "c=d")])
        .send();
    assert_eq!(answer.expect("the fake matches").status(), 204);
    let request: &Requested = &ctx.requests()[0];
    assert_eq!(request.text(), "amount=20%20%E2%82%AC&a%26b=c%3Dd");
    assert_eq!(
        request.header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
}

#[test]
fn a_response_is_read_whole_or_in_chunks() {
    let ctx = server(|| Reply::ok(vec![7; 100_000]).header("X-Kind", "sevens"));
    let get = || ctx.http().get("https://a.example/b").send();
    let answer = get().expect("the fake matches");
    assert!(answer.is_success());
    assert_eq!(answer.header("x-kind"), Some("sevens"));
    assert_eq!(
        answer.headers(),
        [("x-kind".to_owned(), "sevens".to_owned())]
    );
    assert_eq!(answer.bytes().expect("it is there").len(), 100_000);

    let mut answer = get().expect("the fake matches");
    let first = answer
        .read_chunk()
        .expect("it is there")
        .expect("not the end");
    assert_eq!(first.len(), 64 * 1024);
    let mut few = [0; 10];
    answer.read_exact(&mut few).expect("it is there");
    let mut rest = Vec::new();
    answer.read_to_end(&mut rest).expect("it is there");
    assert_eq!(first.len() + few.len() + rest.len(), 100_000);
    assert_eq!(answer.read_chunk(), Ok(None));
}

#[test]
fn an_invalid_json_response_is_an_error_with_the_expected_type() {
    let ctx = server(|| Reply::ok("<html>"));
    let answer = ctx.http().get("https://a.example/?key=1").send();
    let error = answer
        .expect("the fake matches")
        .json::<Vec<u8>>()
        .expect_err("it is HTML");
    assert_eq!(
        (error.message(), error.code_text()),
        (
            "GET https://a.example/: the response body is not a valid `alloc::vec::Vec<u8>`: \
             expected value at line 1 column 1",
            "json"
        )
    );
}

#[test]
fn error_for_status_converts_an_error_status_into_an_error() {
    let error_of = |reply: Reply| {
        let ctx = server(move || reply.clone());
        let answer = ctx.http().get("https://a.example/b?key=1").send();
        let answer = answer.expect("a response of any status is Ok");
        answer.error_for_status().expect_err("it is an error")
    };
    let error = error_of(Reply::status(422).body("no such\n  customer"));
    assert_eq!(
        (error.message(), error.code_text(), error.verdict()),
        (
            "GET https://a.example/b returned 422: no such customer",
            "http:422",
            Verdict::Retry
        )
    );
    let busy = error_of(Reply::status(503).header("Retry-After", "30"));
    assert_eq!(
        (busy.code_text(), busy.delay()),
        ("http:503", Some(secs(30)))
    );
    let capped = error_of(Reply::status(429).header("Retry-After", u64::MAX));
    assert_eq!(capped.delay(), Some(Duration::from_hours(24)));
    let dated = error_of(Reply::status(429).header("Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT"));
    assert_eq!(dated.delay(), None);
    assert_eq!(
        error_of(Reply::status(500).header("Retry-After", "30")).delay(),
        None
    );
    let long = error_of(Reply::status(400).body("é".repeat(1_000)));
    assert!(long.message().ends_with("éé..."), "{long}");
}

#[test]
fn the_error_of_a_failed_request_names_the_request() {
    let ctx = Ctx::test().on_http("GET", "https://a.example/b", |_| {
        Err(retry!("the response timed out").code("timeout"))
    });
    let error = ctx.http().get("https://a.example/b?key=1").send();
    let error = error.expect_err("the fake returns an error");
    assert_eq!(
        (error.message(), error.code_text()),
        ("GET https://a.example/b: the response timed out", "timeout")
    );
    let error = ctx.http().get("https://b.example/c").send();
    let error = error.expect_err("no fake matches");
    assert_eq!(
        (error.message(), error.code_text(), error.verdict()),
        (
            "denied GET https://b.example/c: no fake matches: add `.on_http(\"GET\", \
             \"https://b.example/c\", |_| Ok(Reply::status(200)))` to the test",
            "denied",
            Verdict::Retry
        )
    );
    assert_eq!(ctx.requests().len(), 2);
}

#[test]
fn an_invalid_request_is_reported_when_it_is_sent() {
    let ctx = server(|| Reply::status(200));
    let http = ctx.http();
    for (request, message) in [
        (
            http.get("a.example"),
            "the URL `a.example`: a URL begins with `https://` or `http://`",
        ),
        (
            http.request("G ET", "https://a.example"),
            "`G ET` is not an HTTP method",
        ),
        (
            http.get("https://a.example").header("x-a", "b\r\nx-c: d"),
            "the header `x-a` contains characters not allowed in headers",
        ),
        (
            http.get("https://a.example").header("x a", "b"),
            "the header `x a` contains characters not allowed in headers",
        ),
    ] {
        let error = request.send().expect_err("the request is not valid");
        assert_eq!(
            (error.message(), error.code_text(), error.verdict()),
            (message, "invalid", Verdict::Fail)
        );
    }
    assert!(ctx.requests().is_empty(), "nothing was sent");
}

#[test]
fn a_handler_fails_its_test_if_it_uses_an_undeclared_capability() {
    for (what, message) in [
        (
            "http",
            "denied GET https://api.example.com:8443/a: the handler does not ask for it: write \
             #[handler(needs(http = \"https://api.example.com:8443\"))]",
        ),
        (
            "header",
            "denied the secret `key`: the handler does not ask for it: write \
             #[handler(needs(secret = \"key\"))]",
        ),
        (
            "secret",
            "denied the secret `key`: the handler does not ask for it: write \
             #[handler(needs(secret = \"key\"))]",
        ),
        (
            "sql",
            "denied SQL: the handler does not ask for it: write #[handler(needs(sql))]",
        ),
    ] {
        let ctx = Ctx::test()
            .secret("key", "value")
            .on_http("*", "https://*", |_| Ok(Reply::status(200)))
            .on_sql("", |_| Ok(pgtq_sdk::sql::Rows::affected_only(1)));
        // The handler ignores the error; the run fails anyway.
        let error = ctx
            .run("undeclared", json!([what]))
            .expect_err("the need is not declared");
        assert_eq!((error.message(), error.code_text()), (message, "denied"));
        assert!(ctx.requests().is_empty() && ctx.statements().is_empty());
        // Called as a function, the handler is not checked against its manifest.
        assert!(undeclared(&ctx, what));
    }
}

#[test]
fn the_manifest_lists_the_needs_of_handlers() {
    let manifest = Ctx::test().manifest();
    let needs = |name: &str| {
        let all = manifest["handlers"].as_array().expect("a list");
        let info = all.iter().find(|info| info["name"] == name);
        info.expect("described")["needs"].clone()
    };
    assert_eq!(
        needs("send_mail"),
        json!({"http": ["POST https://api.mail.example/v3/"], "secrets": ["mail"]})
    );
}

#[handler(needs(http = "https://a.example/v1/"))]
fn fetch(ctx: &Ctx, url: &str) -> Result<()> {
    ctx.http().get(url).send().map(|_| ())
}

#[test]
fn a_path_that_the_runner_denies_is_denied_in_a_test() {
    let ctx = Ctx::test().on_http("*", "https://*", |_| Ok(Reply::status(200)));
    let is_answered = |path: &str| {
        let url = format!("https://a.example{path}");
        ctx.run("fetch", json!([url])).is_ok()
    };
    let hostile = [
        "/v1/../x",
        "/v1/..;/x",
        "/v1/%2e%2e/x",
        "/v1/%252e%252e/x",
        "/v1/a%2fb",
        "/v1/a%3bb",
        "/v1/a\\b",
        "/v1/x%00",
        "/v1/%zz",
    ];
    let answered: Vec<&str> = hostile
        .into_iter()
        .filter(|path| is_answered(path))
        .collect();
    assert_eq!(answered, [""; 0]);
    assert!(is_answered("/v1/x;y=1") && is_answered("/v1/caf%C3%A9"));
}
