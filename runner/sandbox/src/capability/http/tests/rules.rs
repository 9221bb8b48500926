use std::fmt::Write;

use super::*;
use crate::attempt::denied::Denied;
use pgtq_task::toml_key;

/// One request that must be denied: what the test shows, the setup, method and URL.
type Case = (&'static str, fn() -> Setup, &'static str, &'static str);

fn with(change: impl FnOnce(&mut Setup)) -> Setup {
    let mut setup = bare();
    change(&mut setup);
    setup
}

fn needed_only() -> Setup {
    with(|setup| setup.needs.http = rules(&["https://api.example.com"]))
}

fn granted_only() -> Setup {
    with(|setup| setup.grant.http = rules(&["https://api.example.com"]))
}

fn one_path() -> Setup {
    with(|setup| {
        setup.needs.http = rules(&["https://*"]);
        setup.grant.http = rules(&["POST https://api.example.com/v1/", "https://b.example"]);
    })
}

fn names() -> Setup {
    let mut setup = open();
    setup.resolver = Scripted::new(&[
        ("mixed.example", &[&["1.1.1.1", "192.168.1.7"]]),
        ("metadata.example", &[&["169.254.169.254"]]),
        ("local.example", &[&["127.0.0.1"]]),
        ("carrier.example", &[&["100.64.0.1"]]),
        ("mapped.example", &[&["::ffff:10.0.0.1"]]),
        ("nat64.example", &[&["64:ff9b::a9fe:a9fe"]]),
        ("nowhere.example", &[&[]]),
    ]);
    setup
}

const CASES: &[Case] = &[
    (
        "nothing asked, nothing granted",
        bare,
        "GET",
        "https://api.example.com/v1?token=x",
    ),
    (
        "asked, not granted",
        needed_only,
        "GET",
        "https://api.example.com/",
    ),
    (
        "granted, not asked",
        granted_only,
        "GET",
        "https://api.example.com/",
    ),
    (
        "another host",
        needed_only,
        "GET",
        "https://api.example.com.evil.example/",
    ),
    (
        "another scheme",
        needed_only,
        "GET",
        "http://api.example.com/",
    ),
    (
        "another port",
        needed_only,
        "GET",
        "https://api.example.com:8443/",
    ),
    (
        "another method",
        one_path,
        "DELETE",
        "https://api.example.com/v1/x",
    ),
    (
        "another path",
        one_path,
        "POST",
        "https://api.example.com/v2/x",
    ),
    (
        "out of the path by dots",
        one_path,
        "POST",
        "https://api.example.com/v1/../v2",
    ),
    (
        "out of the path by encoded dots",
        one_path,
        "POST",
        "https://api.example.com/v1/%2e%2e/v2",
    ),
    ("a tunnel", open, "CONNECT", "https://a.example/"),
    ("a port that is none", open, "GET", "http://a.example:0/"),
    (
        "a user in the URL",
        local,
        "GET",
        "http://good.example@127.0.0.1/",
    ),
    (
        "a password in the URL",
        local,
        "GET",
        "http://a:b@good.example/",
    ),
    ("a decimal address", local, "GET", "http://2130706433/"),
    ("a hexadecimal address", local, "GET", "http://0x7f000001/"),
    (
        "an address half hexadecimal",
        local,
        "GET",
        "http://0x7f.1/",
    ),
    ("an octal address", local, "GET", "http://0177.0.0.1/"),
    ("a short address", local, "GET", "http://127.1/"),
    ("a zero", local, "GET", "http://0/"),
    ("the unspecified address", local, "GET", "http://0.0.0.0/"),
    ("loopback", open, "GET", "http://127.0.0.1/"),
    ("loopback, IPv6", open, "GET", "http://[::1]/"),
    ("loopback, mapped", open, "GET", "http://[::ffff:7f00:1]/"),
    ("loopback with a dot", open, "GET", "http://127.0.0.1./"),
    (
        "metadata",
        local,
        "GET",
        "http://169.254.169.254/latest/meta-data/",
    ),
    (
        "metadata with a dot",
        local,
        "GET",
        "http://169.254.169.254./",
    ),
    (
        "metadata, mapped",
        local,
        "GET",
        "http://[::ffff:169.254.169.254]/",
    ),
    ("metadata, IPv6", local, "GET", "http://[fd00:ec2::254]/"),
    ("a name for loopback", names, "GET", "http://local.example/"),
    (
        "a name for metadata",
        names,
        "GET",
        "http://metadata.example/",
    ),
    (
        "a name for metadata by NAT64",
        names,
        "GET",
        "http://nat64.example/",
    ),
    (
        "a name for a carrier's address",
        names,
        "GET",
        "http://carrier.example/",
    ),
    (
        "a name for a mapped address",
        names,
        "GET",
        "http://mapped.example/",
    ),
    (
        "a public and a private answer",
        names,
        "GET",
        "http://mixed.example/",
    ),
    (
        "a name without an address",
        names,
        "GET",
        "http://nowhere.example/",
    ),
];

#[tokio::test]
async fn every_denied_request_says_why_and_what_to_write() {
    let mut words = String::new();
    for (name, setup, method, url) in CASES {
        let asker = setup().asker();
        let refused = asker.refused(request(method, url, "")).await;
        writeln!(words, "{name}: {method} {url}").expect("a string");
        for line in refused.trim_end().lines() {
            writeln!(words, "    {line}").expect("a string");
        }
    }
    insta::assert_snapshot!("refused", words);
}

#[tokio::test]
async fn the_suggested_lines_suffice() {
    let mut setup = needed_only();
    let refused = setup_log(needed_only()).await;
    let toml = refused
        .split("pgtq.toml:\n")
        .nth(1)
        .expect("lines to paste");
    let parsed: toml::Table = toml.parse().expect("TOML");
    let http = parsed["grants"]["mailer"]["http"]
        .as_array()
        .expect("a list");
    let http: Vec<&str> = http.iter().filter_map(toml::Value::as_str).collect();
    setup.grant.http = rules(&http);
    setup.resolver = Scripted::new(&[("api.example.com", &[&["10.0.0.1"]])]);
    // Past the rules and up to the networks, whose line is TOML as well.
    let refused = setup_log(setup).await;
    let toml = refused
        .split("pgtq.toml:\n")
        .nth(1)
        .expect("lines to paste");
    let parsed: toml::Table = toml.parse().expect("TOML");
    let networks = parsed["grants"]["mailer"]["networks"].as_array();
    assert_eq!(networks.expect("a list")[0].as_str(), Some("10.0.0.1/32"));
}

/// The lines suggested for a denied request allow that request, and none of those beside
/// it.
#[tokio::test]
async fn a_suggested_line_is_never_wider_than_the_request() {
    let one_path = || {
        let mut setup = local();
        setup.grant.http = rules(&["GET http://127.0.0.1:18080/v1/"]);
        setup
    };
    let suggested = async |setup: Setup, method: &str, url: &str| {
        let refused = setup.asker().refused(request(method, url, "")).await;
        let toml = refused.split("pgtq.toml:\n").nth(1)?.to_owned();
        let parsed: toml::Table = toml.parse().expect("TOML");
        let list = |key: &str| -> Vec<String> {
            let list = parsed["grants"]["mailer"].get(key);
            let list = list.and_then(toml::Value::as_array).into_iter().flatten();
            list.filter_map(|item| Some(item.as_str()?.to_owned()))
                .collect()
        };
        Some((list("http"), list("networks")))
    };
    // Paths that no rule with a path allows: no suggestion.
    for path in [
        "/v1/../admin",
        "/v1/%2e%2e/admin",
        "/v1/%c0%ae%c0%ae/admin",
        "/v1/..;/admin",
    ] {
        let url = format!("http://127.0.0.1:18080{path}");
        assert_eq!(suggested(one_path(), "GET", &url).await, None, "{path}");
    }
    for (method, path, rule) in [
        (
            "GET",
            "/v2/users/7?x=/",
            "GET http://127.0.0.1:18080/v2/users/",
        ),
        (
            "DELETE",
            "/v1/users/7",
            "DELETE http://127.0.0.1:18080/v1/users/",
        ),
        ("GET", "/admin", "GET http://127.0.0.1:18080/admin"),
    ] {
        let url = format!("http://127.0.0.1:18080{path}");
        let (http, _) = suggested(one_path(), method, &url).await.expect("lines");
        assert_eq!(http, ["GET http://127.0.0.1:18080/v1/", rule]);
    }
    // The request decides, whatever the handler requests.
    let wide = || {
        let mut setup = open();
        setup.grant.http = Vec::new();
        setup
    };
    let (http, _) = suggested(wide(), "GET", "https://a.example:8443/v1/x")
        .await
        .expect("lines");
    assert_eq!(http, ["GET https://a.example:8443/v1/"]);
    for (url, network) in [
        ("http://127.0.0.1/", "127.0.0.1/32"),
        ("http://[::1]/", "::1/128"),
        ("http://10.1.2.3/", "10.1.2.3/32"),
        ("http://[fd00::1]/", "fd00::1/128"),
        ("http://100.64.0.1/", "100.64.0.1/32"),
    ] {
        let (_, networks) = suggested(open(), "GET", url).await.expect("lines");
        assert_eq!(networks, [network]);
    }
}

async fn setup_log(setup: Setup) -> String {
    let asker = setup.asker();
    asker
        .refused(request("GET", "https://api.example.com/", ""))
        .await
}

#[tokio::test]
async fn denied_requests_count_and_do_not_flood_the_log() {
    let mut setup = bare();
    setup.limits.http_requests = 50;
    let asker = setup.asker();
    for n in 0..100 {
        // Each twice.
        let answer = asker.get(&format!("https://{}.example.com/", n / 2)).await;
        answer.expect_err("must be refused");
    }
    let log = asker.log();
    assert_eq!(log.matches("denied GET").count(), 20, "{log}");
    assert_eq!(
        log.matches("raise `limits.http_requests`").count(),
        1,
        "{log}"
    );
}

#[tokio::test]
async fn guest_names_cannot_forge_a_suggested_line() {
    let asker = bare().asker();
    let denied = Denied {
        what: "reading the secret `x\n[grants.evil]`".to_owned(),
        need: None,
        grant: Some(format!("secrets.{} = {{}}", toml_key("x\n[grants.evil]"))),
    };
    denied.report_to(Some("mailer"), &asker.logs);
    let log = asker.log();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(
        lines[1..],
        ["[grants.mailer]", r#"secrets."x\n[grants.evil]" = {}"#],
        "{log}"
    );
}
