use proptest::prelude::*;

use super::*;

fn parse(url: &str) -> DatabaseConfig {
    DatabaseConfig::parse(url).expect(url)
}

#[test]
fn managed_urls_are_understood() {
    let config = parse(
        "postgresql://app:p%40ss@db.example:6432,two.example/queue?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem&application_name=x&gssencmode=disable",
    );
    assert_eq!(config.tls, TlsMode::VerifyFull);
    assert_eq!(config.tls_root, Some(PathBuf::from("/etc/ca.pem")));
    assert_eq!(config.postgres.get_password(), Some(&b"p@ss"[..]));
    assert_eq!(config.place(), "db.example:6432,two.example:5432/queue");
    assert_eq!(
        config.postgres.get_target_session_attrs(),
        TargetSessionAttrs::ReadWrite
    );
}

#[test]
fn each_host_has_all_options_of_the_address() {
    let rest = "user=u password=p dbname=d options='-c a=b' application_name=n connect_timeout=3
        tcp_user_timeout=4 keepalives=0 keepalives_idle=5 keepalives_interval=6 keepalives_retries=7
        sslmode=require sslnegotiation=direct channel_binding=require load_balance_hosts=random
        target_session_attrs=read-write";
    for (all, second) in [
        ("host=a,/b port=1,2", "host=/b port=2"),
        ("host=a,b port=1", "host=b port=1"),
        ("host=a,b hostaddr=::1,::2", "host=b hostaddr=::2"),
        ("hostaddr=::1,::2", "hostaddr=::2"),
    ] {
        let all = parse(&format!("{all} {rest}"));
        let second = parse(&format!("{second} {rest}"));
        assert_eq!(all.only(1), second.postgres);
    }
}

#[test]
fn the_last_answering_host_is_tried_first_and_a_hanging_one_last() {
    let config = parse("postgres://a,b,c/d");
    let copy = config.clone();
    let places = || config.places().collect::<Vec<_>>();
    assert_eq!(places(), [0, 1, 2]);
    copy.try_last(0);
    assert_eq!(places(), [1, 2, 0]);
    copy.try_first(2);
    assert_eq!(places(), [2, 0, 1]);
    copy.try_last(2);
    assert_eq!(places(), [0, 1, 2]);
    assert!(DatabaseConfig::parse("postgres://a:1,b:2,c:3/d").is_ok());
    let error = DatabaseConfig::parse("host=a,b,c port=1,2").expect_err("not one for each");
    assert!(error.to_string().contains("2 ports for 3 hosts"), "{error}");
}

#[test]
fn pairs_with_quotes_are_understood() {
    let config = parse("host=/tmp/a user='o\\'neil' dbname = q sslmode=require schema=other");
    assert_eq!(config.postgres.get_user(), Some("o'neil"));
    assert_eq!(config.tls, TlsMode::Require);
    assert_eq!(config.schema.as_str(), "other");
}

#[test]
fn system_roots_imply_verification_or_the_mode_is_rejected() {
    for (mode, taken) in [
        ("", Some(TlsMode::VerifyFull)),
        ("sslmode=verify-full ", Some(TlsMode::VerifyFull)),
        ("sslmode=verify-ca ", Some(TlsMode::VerifyCa)),
        ("sslmode=require ", None),
        ("sslmode=prefer ", None),
        ("sslmode=disable ", None),
    ] {
        let before = DatabaseConfig::parse(&format!("host=h {mode}sslrootcert=system"));
        let after = DatabaseConfig::parse(&format!("host=h sslrootcert=system {mode}"));
        for config in [before, after] {
            let found = config.as_ref().map(|config| config.tls).ok();
            assert_eq!(found, taken, "{mode}: {config:?}");
        }
    }
    // A later file replaces the system's CAs.
    let config = parse("host=h sslrootcert=system sslrootcert=/ca.pem sslmode=require");
    assert_eq!(config.tls_root, Some(PathBuf::from("/ca.pem")));
}

#[test]
fn the_password_is_never_shown() {
    let config = parse("postgres://app:secret@h/d");
    assert!(!format!("{config} {config:?}").contains("secret"));
    for bad in [
        "postgres://app:secret@h:99999999/d",
        "postgres://app:secret@h/d?sslmode=maybe",
        "postgres://app:pass@secret@h/d",
        "postgres://app:pass@?secret@h/d",
        "postgres://app:pass@/secret@h/d",
        "secret",
    ] {
        let error = DatabaseConfig::parse(bad).expect_err(bad);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn variables_are_used_only_with_a_host_or_a_database() {
    assert!(
        DatabaseConfig::from_env_like(|key| (key == "PGUSER").then(|| "me".to_owned()))
            .expect("legal")
            .is_none()
    );
    let config = DatabaseConfig::from_env_like(|key| match key {
        "PGHOST" => Some("db".to_owned()),
        "PGPORT" => Some("6000".to_owned()),
        "PGSSLMODE" => Some("verify-ca".to_owned()),
        _ => None,
    })
    .expect("legal")
    .expect("a host is given");
    assert!(config.place().starts_with("db:6000/"));
    assert_eq!(config.tls, TlsMode::VerifyCa);
}

#[test]
fn schema_names_are_checked() {
    for bad in ["", "1a", "A", "pg_x", "a-b", "a\"b", &"x".repeat(49)] {
        assert!(bad.parse::<Schema>().is_err(), "{bad:?} was accepted");
    }
    assert!("tenant_7".parse::<Schema>().is_ok());
}

/// Escapes for a URL.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Quotes for `key=value`.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Texts that resemble addresses.
fn nearly_an_address() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "postgres://",
        "postgresql://",
        "host=",
        "user=",
        "password=",
        "app",
        ":",
        "@",
        "/",
        "?",
        "&",
        "=",
        "'",
        "\\",
        " ",
        "%",
        "%2",
        "%zz",
        "%+1",
        "%00",
        "sslmode=",
        "require",
        "maybe",
        "schema=",
        "q",
        "A",
        ",",
        "[::1]",
        "h",
        "5432",
        "99999",
        "connect_timeout=",
        "-1",
        "pgbouncer=true",
        "options=",
        "target_session_attrs=",
        "any",
        "é",
        "port=",
        "gssencmode=",
        "sslrootcert=",
        "system",
    ]);
    prop_oneof![
        prop::collection::vec(piece.clone(), 0..12).prop_map(|all| all.concat()),
        prop::collection::vec(piece, 0..12).prop_map(|all| format!("postgres://{}", all.concat())),
        ".{0,40}",
    ]
}

proptest! {
    #[test]
    fn any_text_parses_or_is_rejected(text in nearly_an_address()) {
        if let Ok(config) = DatabaseConfig::parse(&text) {
            prop_assert!(!config.place().is_empty());
            prop_assert!(config.connect_timeout > Duration::ZERO);
            prop_assert!(!config.postgres.get_hosts().is_empty() || !config.postgres.get_hostaddrs().is_empty());
        }
    }

    #[test]
    fn escaped_values_round_trip_through_a_url(user in "[^\0]{1,12}", password in "[^\0]{1,12}", name in "[^\0]{1,12}", file in "[^\0]{1,12}") {
        prop_assume!(file != "system");
        let url = format!("postgres://{}:{}@h:1/{}?sslrootcert={}", escaped(&user), escaped(&password), escaped(&name), escaped(&file));
        let config = DatabaseConfig::parse(&url).expect("legal");
        prop_assert_eq!(config.postgres.get_user(), Some(user.as_str()));
        prop_assert_eq!(config.postgres.get_password(), Some(password.as_bytes()));
        prop_assert_eq!(config.postgres.get_dbname(), Some(name.as_str()));
        prop_assert_eq!(config.tls_root, Some(PathBuf::from(file)));
    }

    #[test]
    fn quoted_values_round_trip_through_pairs(user in "[^\0]{1,12}", password in "[^\0]{1,12}", file in "[^\0]{1,12}") {
        prop_assume!(file != "system");
        let text = format!("user={} sslrootcert = {} host=h password={} schema=q", quoted(&user), quoted(&file), quoted(&password));
        let config = DatabaseConfig::parse(&text).expect("legal");
        prop_assert_eq!(config.postgres.get_user(), Some(user.as_str()));
        prop_assert_eq!(config.postgres.get_password(), Some(password.as_bytes()));
        prop_assert_eq!(config.tls_root, Some(PathBuf::from(file)));
        prop_assert_eq!(config.schema.as_str(), "q");
    }

    #[test]
    fn no_part_of_a_password_is_shown_in_any_form(
        first in "SECRET[a-z]{0,4}", between in "[@:/?#%&= ']{0,3}", second in "(HIDDEN)?", tail in "(@h/d|@h:x/d|@h:99999/d|@h/d\\?sslmode=maybe|@h/d\\?x=1)",
        pairs in any::<bool>(),
    ) {
        let text = if pairs {
            format!("host=h user=u password={first}{between}{second} {}", tail.replace(['@', '/', '?'], " "))
        } else {
            format!("postgres://u:{first}{between}{second}{tail}")
        };
        let shown = match DatabaseConfig::parse(&text) {
            Ok(config) => format!("{config} {config:?} {}", config.place()),
            Err(error) => format!("{error} {error:?}"),
        };
        prop_assert!(!shown.contains("SECRET") && !shown.contains("HIDDEN"), "{} is shown as {}", text, shown);
    }
}

#[test]
fn several_hosts_are_parsed_in_every_form_including_sockets() {
    for (address, place) in [
        ("postgres://u@a,b:6000/db", "a:5432,b:6000/db"),
        (
            "postgresql:///db?host=/run/a,/run/b&user=u",
            "/run/a/.s.PGSQL.5432,/run/b/.s.PGSQL.5432/db",
        ),
        (
            "postgresql:///db?host=%2Frun%2Fa,b&port=6001,6002&user=u",
            "/run/a/.s.PGSQL.6001,b:6002/db",
        ),
        (
            "host=/run/a,b port=6001,6002 dbname=db user=u",
            "/run/a/.s.PGSQL.6001,b:6002/db",
        ),
    ] {
        let config = DatabaseConfig::parse(address).expect(address);
        assert_eq!(config.place(), place, "{address}");
        assert_eq!(
            config.postgres.get_target_session_attrs(),
            TargetSessionAttrs::ReadWrite
        );
    }
    let bad = DatabaseConfig::parse("postgresql:///db?host=a,b&port=1,x").unwrap_err();
    assert!(bad.message.contains("the port \"x\""), "{bad}");
}
