//! The network rules against hostile paths and names.

use std::fmt::Display;
use std::str::FromStr;

use proptest::prelude::*;

use crate::coverage::Covers;
use crate::{HostRule, HttpRule, HttpTarget, TcpRule, host};

/// Texts that resemble rules.
fn nearly_a_rule() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "GET",
        "POST",
        ",",
        " ",
        "https://",
        "http://",
        "://",
        "a",
        "example.com",
        "*.",
        "*",
        ".",
        "..",
        ":",
        "443",
        "80",
        "0",
        "+8",
        "65536",
        "[::1]",
        "[",
        "]",
        "@",
        "/",
        "v1",
        "?",
        "#",
        "%2e",
        ";",
        "\\",
        "\t",
        "\u{a0}",
        "\n",
        "é",
        "A",
        "127.0.0.1",
        "-",
    ]);
    prop_oneof![
        3 => prop::collection::vec(piece, 0..9).prop_map(|all| all.concat()),
        1 => ".{0,30}",
    ]
}

fn reads_back<R: FromStr<Err = String> + Display + PartialEq + std::fmt::Debug>(
    text: &str,
) -> Result<(), TestCaseError> {
    if let Ok(rule) = text.parse::<R>() {
        let printed = rule.to_string();
        prop_assert_eq!(
            printed.parse::<R>(),
            Ok(rule),
            "{:?} printed as {:?}",
            text,
            printed
        );
    }
    Ok(())
}

/// A request path, with every known way to leave a directory.
fn path() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "v1", "v10", "v", "x", ".", "..", "...", "%2e", "%2E", "%2f", "%2F", "%5c", "%25", "%252e",
        "%3b", "%3B", ";", ";a=b", "\\", "%", "%2", "/", "/", "/", "/..", "/.", "//", "%00", "é",
    ]);
    (any::<bool>(), prop::collection::vec(piece, 0..8))
        .prop_map(|(below, all)| format!("{}{}", if below { "/v1/" } else { "/" }, all.concat()))
}

/// A server's view of a path: decoded a few times, parameters dropped or not, backslashes
/// converted or not, dots resolved.
fn resolved(path: &str, decodings: usize, drop_parameters: bool) -> String {
    let mut path = path.to_owned();
    for _ in 0..decodings {
        for (code, plain) in [
            ("%2e", "."),
            ("%2f", "/"),
            ("%5c", "\\"),
            ("%3b", ";"),
            ("%25", "%"),
        ] {
            path = path
                .replace(code, plain)
                .replace(&code.to_uppercase(), plain);
        }
    }
    let path = path.replace('\\', "/");
    let mut folders: Vec<&str> = Vec::new();
    for segment in path.split('/').filter(|s| !s.is_empty()) {
        let name = if drop_parameters {
            segment.split(';').next().unwrap_or_default()
        } else {
            segment
        };
        match name {
            ".." => drop(folders.pop()),
            "." | "" => {}
            _ => folders.push(name),
        }
    }
    format!("/{}", folders.join("/"))
}

fn any_host_rule() -> impl Strategy<Value = HostRule> {
    prop::sample::select(vec![
        "*",
        "*.com",
        "*.b.com",
        "b.com",
        "a.b.com",
        "c.a.b.com",
        "xb.com",
        "com",
        "[::1]",
    ])
    .prop_map(|text| text.parse().expect("a rule"))
}

fn any_http_rule() -> impl Strategy<Value = HttpRule> {
    let methods = prop::sample::select(vec!["", "GET ", "POST ", "GET,POST "]);
    let scheme = prop::sample::select(vec!["https", "http"]);
    let port = prop::sample::select(vec!["", ":443", ":80", ":8443", ":*"]);
    let path = prop::sample::select(vec!["", "/", "/v1", "/v1/", "/v1/x", "/v10", "/v1/x/"]);
    (methods, scheme, any_host_rule(), port, path).prop_map(
        |(methods, scheme, host, port, path)| {
            format!("{methods}{scheme}://{host}{port}{path}")
                .parse()
                .expect("a rule")
        },
    )
}

fn get(path: &str) -> HttpTarget {
    HttpTarget::read("GET", "https", "a", path).expect("a target")
}

proptest! {
    #[test]
    fn any_text_is_rejected_or_round_trips_as_a_rule(text in nearly_a_rule()) {
        reads_back::<HostRule>(&text)?;
        reads_back::<HttpRule>(&text)?;
        reads_back::<TcpRule>(&text)?;
        if let Ok(name) = host(&text) {
            prop_assert_eq!(host(&name), Ok(name.clone()));
            prop_assert!(!name.contains(['/', '@', ' ', '?', '#', '*', '%']));
        }
    }

    #[test]
    fn an_allowed_path_stays_below_its_rule_on_every_server(path in path(), decodings in 0..4_usize, drop_parameters in any::<bool>()) {
        let rule: HttpRule = "https://a/v1".parse().expect("a rule");
        if rule.allows(&get(&path)) {
            let seen = resolved(&path, decodings, drop_parameters);
            prop_assert!(seen == "/v1" || seen.starts_with("/v1/") || seen.starts_with("/v1;"), "{:?} led to {:?}", path, seen);
        }
    }

    #[test]
    fn a_plain_path_is_allowed_exactly_below_its_rule(
        folders in prop::collection::vec("[a-c]{1,2}", 0..4), asked in prop::collection::vec("[a-c]{1,2}", 0..5),
    ) {
        let rule: HttpRule = format!("https://a/{}", folders.join("/")).parse().expect("a rule");
        let allowed = rule.allows(&get(&format!("/{}", asked.join("/"))));
        prop_assert_eq!(allowed, asked.starts_with(&folders));
    }

    #[test]
    fn a_star_means_more_labels_before_the_domain(domain in "[ab](\\.[ab]){0,2}", name in "[ab](\\.[ab]){0,4}") {
        let rule: HostRule = format!("*.{domain}").parse().expect("a rule");
        let (wanted, labels): (Vec<&str>, Vec<&str>) = (domain.split('.').collect(), name.split('.').collect());
        prop_assert_eq!(rule.allows(&name), labels.len() > wanted.len() && labels.ends_with(&wanted));
    }

    #[test]
    fn a_covering_grant_allows_all_requests_of_the_rule(
        grant in any_http_rule(), asked in any_http_rule(), host in any_host_rule(), path in path(), method in "(GET|POST|PUT)",
        port in prop::sample::select(vec![80_u16, 443, 8443]), secure in any::<bool>(),
    ) {
        let name = host.to_string().replace('*', "z");
        let request = HttpTarget { method, secure, host: name, port, path };
        let both = asked.allows(&request);
        if grant.covers(&asked) && both {
            prop_assert!(grant.allows(&request), "{} covers {} but not {}", grant, asked, request.path);
        }
        if both && grant.allows(&request) {
            prop_assert!(grant.meets(&asked), "{} and {} meet at {}", grant, asked, request.path);
        }
    }
}
