//! Needs that a grant does not cover, and the lines that would grant them.

use super::*;
use crate::grant::{FileGrant, SecretGrant, SqlGrant};
use pgtq_contract::{HttpRule, TcpRule};

fn needs(json: &str) -> Needs {
    serde_json::from_str(json).expect("needs")
}

fn everything() -> Needs {
    needs(
        r#"{"http":["POST https://api.mail.example/v3","https://*"],"tcp":["smtp.example.com:587"],
            "sql":true,"secrets":["stripe"],"files":["/data"]}"#,
    )
}

fn covers(needs: &Needs, grant: &Grant) -> Vec<String> {
    let asked = GrantReport::all(needs, grant);
    let lines = asked
        .iter()
        .map(|asked| format!("{} {}: {}", asked.need, asked.what, asked.cover.as_str()));
    lines.collect()
}

fn full() -> Grant {
    let mut grant = Grant {
        http: vec!["https://*".parse().expect("a rule")],
        tcp: vec!["*.example.com:*".parse().expect("a rule")],
        sql: Some(SqlGrant {
            role: "reports".into(),
            password: None,
            statement_timeout: std::time::Duration::from_secs(5),
            connections: 4,
        }),
        ..Grant::default()
    };
    grant
        .secrets
        .insert("stripe".into(), SecretGrant::default());
    let dir = FileGrant {
        dir: "/srv".into(),
        write: false,
    };
    grant.files.insert("/data/".into(), dir);
    grant
}

#[test]
fn without_a_grant_everything_is_denied() {
    let expected = [
        "http POST https://api.mail.example/v3: refused",
        "http https://*: refused",
        "tcp smtp.example.com:587: refused",
        "sql : refused",
        "secret stripe: refused",
        "files /data: refused",
    ];
    assert_eq!(covers(&everything(), &Grant::default()), expected);
}

#[test]
fn with_a_grant_of_everything_nothing_is_missing() {
    let sum = PluginGrantReport::of("mailer", [&everything()], &full()).expect("a report");
    assert_eq!((sum.asked, sum.granted), (6, 6));
    assert!(sum.refused.is_empty() && sum.partly.is_empty(), "{sum:?}");
    assert_eq!(sum.toml, "");
}

#[test]
fn a_plugin_without_needs_has_no_report() {
    assert_eq!(
        PluginGrantReport::of("a", [&Needs::default()], &full()),
        None
    );
}

#[test]
fn the_lines_to_paste_keep_existing_grants() {
    let grant = Grant {
        http: vec!["https://other.example".parse().expect("a rule")],
        tcp: vec!["smtp.example.com:25".parse().expect("a rule")],
        ..Grant::default()
    };
    let sum = PluginGrantReport::of("mail.er", [&everything()], &grant).expect("a report");
    assert_eq!((sum.asked, sum.granted), (6, 0));
    assert_eq!(sum.partly, ["http https://*"]);
    assert_eq!(
        sum.toml,
        r#"[grants."mail.er"]
http = ["https://other.example", "POST https://api.mail.example/v3"]
tcp = ["smtp.example.com:25", "smtp.example.com:587"]
sql = "ROLE"
secrets.stripe = { hosts = ["api.mail.example"] }   # its value: env or file below [secrets.stripe]
files."/data" = "DIRECTORY"
"#
    );
}

#[test]
fn a_request_for_any_host_is_never_the_line_to_paste() {
    let any = needs(
        r#"{"http":["POST https://*:*","https://*.example.com/v1/","http://[::1]:*"],
            "tcp":["*:25","db.example.com:*"],"secrets":["stripe"]}"#,
    );
    let toml = missing_grants(&any, "a", &Grant::default());
    assert_eq!(
        toml,
        r#"[grants.a]
http = ["POST https://HOST:PORT", "https://HOST/v1/", "http://[::1]:PORT"]   # the plugin declares POST https://*:*, https://*.example.com/v1/, http://[::1]:*
tcp = ["HOST:25", "db.example.com:PORT"]   # the plugin declares *:25, db.example.com:*
secrets.stripe = { hosts = ["[::1]"] }   # its value: env or file below [secrets.stripe]
"#
    );
    // Pasted unchanged, they are errors, and grant nothing.
    for rule in [
        "POST https://HOST:PORT",
        "https://HOST/v1/",
        "http://[::1]:PORT",
    ] {
        assert!(rule.parse::<HttpRule>().is_err(), "{rule}");
    }
    for rule in ["HOST:25", "db.example.com:PORT"] {
        assert!(rule.parse::<TcpRule>().is_err(), "{rule}");
    }
    let secret = needs(r#"{"http":["POST https://*:*"],"secrets":["stripe"]}"#);
    let toml = missing_grants(&secret, "a", &Grant::default());
    assert!(
        toml.contains(r#"secrets.stripe = { hosts = ["HOST"] }"#),
        "{toml}"
    );
    let some = Grant {
        http: vec!["https://a".parse().expect("a rule")],
        ..Grant::default()
    };
    // Where some hosts are granted, the operator has decided.
    let any = needs(r#"{"http":["POST https://*:*"]}"#);
    assert_eq!(missing_grants(&any, "a", &some), "");
}

#[test]
fn a_secret_without_a_single_host_is_offered_for_reading() {
    let toml = missing_grants(&needs(r#"{"secrets":["stripe"]}"#), "a", &Grant::default());
    assert_eq!(
        toml,
        "[grants.a]\nsecrets.stripe = { read = true }   # its value: env or file below [secrets.stripe]\n"
    );
}

#[test]
fn needs_of_handlers_of_one_plugin_are_merged() {
    let (a, b) = (
        needs(r#"{"http":["https://a","https://b"]}"#),
        needs(r#"{"http":["https://b"],"sql":true}"#),
    );
    let sum = PluginGrantReport::of("a", [&a, &b], &Grant::default()).expect("a report");
    assert_eq!(sum.asked, 3);
}

#[test]
fn a_flood_of_needs_is_cut() {
    let dirs = 0..5_000;
    let flood = Needs {
        files: dirs.map(|n| format!("/a/long/directory/{n}")).collect(),
        ..Needs::default()
    };
    let sum = PluginGrantReport::of("a", [&flood], &Grant::default()).expect("a report");
    assert_eq!((sum.asked, sum.granted), (5_000, 0));
    assert_eq!(sum.refused.len(), MAX_REFUSED);
    assert_eq!(sum.toml, "");
}
