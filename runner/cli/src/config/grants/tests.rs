//! The format of grants and secrets, the precedence of files, and errors.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::config::Layers;
use pgtq_task::{HostRule, Network};

fn read(files: &[(&str, &str)]) -> Result<Grants, ConfigError> {
    let files: Vec<(PathBuf, String)> = files
        .iter()
        .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
        .collect();
    // Checks the whole file, like all callers.
    Layers::merge(&[], &|_| None, &files).map(|layers| layers.grants)
}

const FULL: &str = r#"
[grants.mailer]
http = ["POST https://api.mail.example/v3/", "https://*.example.com"]
tcp = "smtp.example.com:587"
networks = ["loopback", "private", "10.1.0.0/16"]
sql = { role = "reports", password = "reports_db", statement_timeout = "2s", connections = 7 }
secrets.stripe = { hosts = ["api.stripe.com", "*.stripe.com"] }
secrets.signing = { read = true }
files."/data" = "reports"
files."/out/" = { dir = "/srv/out", write = true }

[grants."mail.er-2"]
sql = "mail"

[secrets.stripe]
env = "STRIPE_KEY"

[secrets]
signing = { file = "secrets/signing" }
reports_db = { env = "REPORTS" }
"#;

#[test]
fn every_form_of_a_grant_is_accepted() {
    let grants = read(&[("/srv/app/pgtq.toml", FULL)]).expect("it is right");
    let mailer = &grants.plugins["mailer"];
    let grant = &mailer.grant;
    assert_eq!(
        grant.http[0].to_string(),
        "POST https://api.mail.example/v3/"
    );
    assert_eq!(grant.http.len(), 2);
    assert_eq!(grant.tcp[0].to_string(), "smtp.example.com:587");
    assert_eq!(grant.networks[..2], [Network::Loopback, Network::Private]);
    let sql = grant.sql.as_ref().expect("it has SQL");
    assert_eq!((sql.role.as_str(), sql.connections), ("reports", 7));
    assert_eq!(sql.statement_timeout, Duration::from_secs(2));
    assert_eq!(mailer.sql_password.as_deref(), Some("reports_db"));
    let stripe = &grant.secrets["stripe"];
    assert_eq!(stripe.hosts[1], HostRule::Below("stripe.com".into()));
    assert!(!stripe.read && grant.secrets["signing"].read);
    assert!(!grant.files["/data"].write && grant.files["/out"].write);
    assert_eq!(grant.files["/out"].dir, PathBuf::from("/srv/out"));

    let short = grants.plugins["mail.er-2"].grant.sql.as_ref();
    let short = short.expect("it has SQL");
    assert_eq!((short.role.as_str(), short.connections), ("mail", 4));
    assert_eq!(short.statement_timeout, Duration::from_secs(5));
}

#[test]
fn directories_and_files_of_secrets_are_relative_to_the_file() {
    let grants = read(&[("/srv/app/pgtq.toml", FULL)]).expect("it is right");
    let dir = &grants.plugins["mailer"].grant.files["/data"].dir;
    assert_eq!(*dir, PathBuf::from("/srv/app/reports"));
    let files: Vec<&Path> = grants.secret_files().collect();
    assert_eq!(files, [Path::new("/srv/app/secrets/signing")]);
}

#[test]
fn the_file_with_the_highest_precedence_provides_the_whole_section() {
    let near = (
        "/w/pgtq.toml",
        "[grants.a]\nhttp = 'https://near'\n[secrets.s]\nenv = 'NEAR'\n",
    );
    let far = (
        "/etc/pgtq.toml",
        "[grants.a]\nsql = 'far'\n[grants.b]\nsql = 'far'\n[secrets.s]\nenv = 'FAR'\n",
    );
    let grants = read(&[near, far]).expect("both are right");
    let a = &grants.plugins["a"];
    assert_eq!((a.grant.http.len(), &a.grant.sql), (1, &None));
    assert_eq!(a.origin.to_string(), "/w/pgtq.toml:1");
    assert!(grants.plugins["b"].grant.sql.is_some());
    assert_eq!(grants.secrets["s"].source, SecretSource::Env("NEAR".into()));
}

#[test]
fn a_secret_may_be_defined_in_another_file() {
    let near = ("near.toml", "[grants.a]\nsecrets.s = { read = true }\n");
    let far = ("far.toml", "[secrets.s]\nenv = 'S'\n");
    assert!(read(&[near, far]).is_ok());
    assert!(read(&[near]).is_err());
}

#[test]
fn invalid_grants_are_rejected_with_line_and_hint() {
    let many = format!("[grants.a]\nhttp = [{}]\n", "'https://a',".repeat(1_001));
    let errors: Vec<String> = [
        "[grant.mailer]\nhttp = 'https://a'\n",
        "grants = 'all'\n",
        "[grants]\nmailer = 'all'\n",
        "[grants.mailer]\nhtpp = 'https://a'\n",
        "[grants.mailer-1.2]\nhttp = 'https://a'\n",
        "[grants.'mailer.wasm']\nhttp = 'https://a'\n",
        "[grants.'a/b']\nhttp = 'https://a'\n",
        "[grants.mailer]\nhttp = [\n  'https://a',\n  'api.example.com',\n]\n",
        "[grants.mailer]\nhttp = true\n",
        "[grants.mailer]\nhttp = [1]\n",
        "[grants.mailer]\ntcp = 'smtp.example.com'\n",
        "[grants.mailer]\nnetworks = ['intranet']\n",
        "[grants.mailer]\nsql = true\n",
        "[grants.mailer]\nsql = { rolle = 'x' }\n",
        "[grants.mailer]\nsql = { role = 'x', password = 'a b' }\n",
        "[grants.mailer]\nsql = { role = 'x', statement_timeout = 5 }\n",
        "[grants.mailer]\nsql = { role = 'x', statement_timeout = '2h' }\n",
        "[grants.mailer]\nsql = { role = 'x', connections = 0 }\n",
        "[grants.mailer]\nsql = { role = 'x', connections = 1000 }\n",
        "[grants.mailer]\nsql = { password = 'x' }\n",
        "[grants.mailer]\nsql = ''\n",
        "[grants.mailer]\nsql = 'ROLE'\n",
        "[grants.mailer]\nfiles.'/data' = 'DIRECTORY'\n",
        "[grants.mailer]\nsecrets = ['stripe']\n",
        "[grants.mailer]\nsecrets.stripe = true\n",
        "[grants.mailer]\nsecrets.stripe = {}\n",
        "[grants.mailer]\nsecrets.stripe = { read = 'yes' }\n",
        "[grants.mailer]\nsecrets.stripe = { hosts = ['https://api.stripe.com'] }\n",
        "[grants.mailer]\nsecrets.stripe = { host = ['api.stripe.com'] }\n",
        "[grants.mailer]\n\nsecrets.stripe = { read = true }\n",
        "[grants.mailer]\nsecrets.strip = { read = true }\n[secrets.stripe]\nenv = 'S'\n",
        "[grants.mailer]\nsql = { role = 'x', password = 'db' }\n",
        "[grants.mailer]\nfiles.data = '/srv'\n",
        "[grants.mailer]\nfiles.'/data/../etc' = '/srv'\n",
        "[grants.mailer]\nfiles.'/' = '/srv'\n",
        "[grants.mailer]\nfiles.'/data' = ''\n",
        "[grants.mailer]\nfiles.'/data' = { dir = '/srv', writable = true }\n",
        "[secrets.stripe]\nvalue = 'sk_live'\n",
        "[secrets.stripe]\n",
        "[secrets]\nstripe = 'sk_live'\n",
        "[secrets.stripe]\nenv = 'A'\nfile = 'b'\n",
        "[secrets.stripe]\nenv = ''\n",
        "[secrets.stripe]\nenv = 'A=B'\n",
        "[secrets.'a b']\nenv = 'A'\n",
        &many,
    ]
    .iter()
    .map(|text| match read(&[("pgtq.toml", text)]) {
        Ok(_) => format!("accepted: {text}"),
        Err(ConfigError::UnknownKey {
            key,
            line,
            suggestion,
            ..
        }) => format!("unknown `{key}` line {line}, did you mean {suggestion:?}"),
        Err(error) => error.to_string(),
    })
    .collect();
    insta::assert_snapshot!(errors.join("\n"));
}

/// Writes files and returns the value of the secret in each.
fn values(files: &[(&str, &[u8])], env: &[(&str, &str)]) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut text = String::new();
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).expect("a file");
        text.push_str(&format!("[secrets.{name}]\nfile = '{name}'\n"));
    }
    text.push_str("[secrets.dir]\nfile = '.'\n[secrets.gone]\nfile = 'gone'\n");
    text.push_str("[secrets.env]\nenv = 'SET'\n[secrets.unset]\nenv = 'UNSET'\n");
    let path = dir.path().join("pgtq.toml").display().to_string();
    let grants = read(&[(&path, &text)]).expect("it is right");
    let lookup = |name: &str| {
        let found = env.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let (book, missing) = grants.resolve(&lookup);
    let place = format!("{}/", dir.path().display());
    let values = book
        .secrets
        .iter()
        .map(|(name, value)| (name.clone(), value.reveal().to_owned()));
    let reasons = missing.into_iter().map(|secret| {
        let reason = secret.reason.replace(&place, "");
        (secret.name, format!("missing: {reason}"))
    });
    values.chain(reasons).collect()
}

#[test]
fn values_come_from_files_and_the_environment() {
    let long = vec![b'x'; (64 << 10) + 1];
    let fits = vec![b'x'; 64 << 10];
    let files: &[(&str, &[u8])] = &[
        ("plain", b"abc"),
        ("line", b"abc\n"),
        ("crlf", b"abc\r\n"),
        ("lines", b"a\n\n"),
        ("empty", b"\n"),
        ("bytes", &[0xff, 0xfe]),
        ("long", &long),
    ];
    let found = values(files, &[("SET", "value")]);
    let found: Vec<String> = found
        .iter()
        .map(|(name, value)| format!("{name}: {value:?}"))
        .collect();
    insta::assert_snapshot!(found.join("\n"));
    let found = values(&[("fits", &fits)], &[("SET", "")]);
    assert_eq!(found["fits"].len(), 64 << 10);
    assert_eq!(
        found["env"],
        "missing: the environment variable SET is empty"
    );
}

#[test]
fn the_password_of_sql_is_the_value_of_its_secret() {
    let grants = read(&[("/srv/app/pgtq.toml", FULL)]).expect("it is right");
    let (book, missing) = grants.resolve(&|name| (name == "REPORTS").then(|| "pw".to_owned()));
    let sql = book.of("mailer").sql.clone().expect("it has SQL");
    assert_eq!(
        sql.password.as_ref().map(|value| value.reveal()),
        Some("pw")
    );
    let missing: Vec<&str> = missing.iter().map(|secret| secret.name.as_str()).collect();
    assert_eq!(missing, ["signing", "stripe"]);
}

#[test]
fn shown_secrets_have_names_and_sources_only() {
    let grants = read(&[("/srv/app/pgtq.toml", FULL)]).expect("it is right");
    let rows: Vec<String> = grants
        .rows()
        .into_iter()
        .map(|(key, value, origin)| format!("{key} = {value} ({origin})"))
        .collect();
    insta::assert_snapshot!(rows.join("\n"));
}

fn book(text: &str) -> GrantBook {
    let grants = read(&[("pgtq.toml", text)]).expect("it is right");
    grants.resolve(&|name| Some(format!("value of {name}"))).0
}

#[test]
fn changes_are_reported_by_plugin_and_capability_without_values() {
    let old = book(
        "[grants.a]\nhttp = 'https://a'\nsql = 'a'\n[grants.b]\ntcp = 'b:1'\n[secrets.s]\nenv = 'A'\n[secrets.t]\nenv = 'T'\n",
    );
    let new = book(
        "[grants.a]\nhttp = 'https://b'\nsql = 'a'\nnetworks = 'private'\n[grants.c]\nfiles.'/c' = '/c'\n[secrets.s]\nenv = 'B'\n[secrets.u]\nenv = 'U'\n",
    );
    assert_eq!(
        changes(&old, &new),
        [
            "grants of plugin `a` changed: http, networks",
            "all grants of plugin `b` were revoked: tcp",
            "plugin `c` was granted files",
            "the value of secret `s` changed",
            "secret `t` no longer has a value",
            "secret `u` now has a value",
        ]
    );
    assert!(changes(&new, &new).is_empty());
}
