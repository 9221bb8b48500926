//! The meaning of rules, and invalid rules.

use super::target;
use crate::{HttpRule, HttpTarget, TcpRule};

fn http(rule: &str) -> HttpRule {
    rule.parse().expect("a rule")
}

#[test]
fn a_rule_round_trips_through_text() {
    for text in [
        "https://api.example.com",
        "GET,POST https://*.example.com:8443/v1/",
        "http://127.0.0.1:*",
        "https://[::1]:8443/a",
    ] {
        assert_eq!(http(text).to_string(), text);
    }
    let tcp: TcpRule = "smtp.example.com:587".parse().expect("a rule");
    assert_eq!(tcp.to_string(), "smtp.example.com:587");
}

#[test]
fn mistakes_are_explained() {
    for text in [
        "example.com",
        "ftp://x",
        "https://a@b",
        "https://a?b",
        "https://",
        "https://a:0",
        "G-T https://a",
        "https://a/*/b",
    ] {
        assert!(text.parse::<HttpRule>().is_err(), "{text}");
    }
    for text in ["smtp.example.com", "a:b", ":25", "a..b:25"] {
        assert!(text.parse::<TcpRule>().is_err(), "{text}");
    }
}

#[test]
fn a_star_in_a_path_stands_alone_at_its_end() {
    assert_eq!(http("https://a/v1/*"), http("https://a/v1/"));
    assert_eq!(http("https://a/*"), http("https://a"));
    for text in [
        "https://a/v*",
        "https://a/v1/**",
        "https://a/*/*",
        "https://a/*v",
    ] {
        assert_eq!(
            text.parse::<HttpRule>().expect_err("not a rule"),
            format!(
                "`{text}`: a path ends with `/*` or has no `*`, and matches itself and all \
                 below it; write a rule like \"GET,POST https://api.example.com/v1/\""
            )
        );
    }
}

#[test]
fn a_path_matches_itself_and_all_below() {
    let rule = http("https://a/v1");
    let allows =
        |path: &str| rule.allows(&target("GET", &format!("https://a{path}")).expect("a target"));
    assert!(allows("/v1") && allows("/v1/x"));
    assert!(!allows("/v10") && !allows("/") && !allows("/v1/../x") && !allows("/v1/%2e%2e/x"));
    assert!(!allows("/v1/..;/x") && !allows("/v1/..;a=b/x") && !allows("/v1/%252e%252e/x"));
}

#[test]
fn a_star_matches_names_below_a_domain_only() {
    let rule = http("https://*.example.com");
    let allows = |host: &str| {
        let request = target("GET", &format!("https://{host}/"));
        request.is_ok_and(|request| rule.allows(&request))
    };
    assert!(allows("a.example.com") && allows("a.b.example.com"));
    assert!(!allows("example.com") && !allows("evilexample.com") && !allows(".example.com"));
}

#[test]
fn the_narrowest_rule_for_a_request_names_its_directory() {
    let narrowest = |path: &str| {
        let request = HttpTarget::read("GET", "https", "a.example:8443", path);
        let rule = HttpRule::narrowest(&request.expect("a target"));
        rule.map(|rule| rule.to_string())
    };
    for (path, rule) in [
        ("/", "GET https://a.example:8443"),
        ("/users", "GET https://a.example:8443/users"),
        ("/v1/users/7", "GET https://a.example:8443/v1/users/"),
        ("/v1/", "GET https://a.example:8443/v1/"),
    ] {
        assert_eq!(narrowest(path).as_deref(), Some(rule), "{path}");
    }
    let long = format!("/{}/x", "a".repeat(600));
    for path in [
        "/v1/../admin",
        "/v1/%2e%2e/x",
        "/a*b/c",
        "/a b/é/x",
        "/v*",
        &long,
    ] {
        assert_eq!(narrowest(path), None, "{path}");
    }
}
