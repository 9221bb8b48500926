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
fn pairs_with_quotes_are_understood() {
    let config = parse("host=/tmp/a user='o\\'neil' dbname = q sslmode=require schema=other");
    assert_eq!(config.postgres.get_user(), Some("o'neil"));
    assert_eq!(config.tls, TlsMode::Require);
    assert_eq!(config.schema.as_str(), "other");
}

#[test]
fn the_password_is_never_shown() {
    let config = parse("postgres://app:secret@h/d");
    assert!(!format!("{config} {config:?}").contains("secret"));
    for bad in [
        "postgres://app:secret@h:99999999/d",
        "postgres://app:secret@h/d?sslmode=maybe",
        "secret",
    ] {
        let error = DatabaseConfig::parse(bad).expect_err(bad);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn variables_say_where_only_when_they_name_a_host_or_a_database() {
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
