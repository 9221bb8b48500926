//! Precedence, origins, syntax of values, and errors.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use pgtq_task::{Limits, Name};

fn resolve(
    flags: &[Flag],
    env: &[(&str, &str)],
    files: &[(&str, &str)],
) -> Result<Config, ConfigError> {
    let lookup = |name: &str| {
        env.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, text)| (*text).to_owned())
    };
    let files: Vec<(PathBuf, String)> = files
        .iter()
        .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
        .collect();
    Config::from_layers(Layers::merge(flags, &lookup, &files)?, &lookup)
}

fn origin(config: &Config, key: &str) -> String {
    config
        .layers
        .get(key)
        .map_or_else(String::new, |s| s.origin.to_string())
}

#[test]
fn default_limits_are_those_of_the_task_crate() {
    let config = resolve(&[], &[], &[]).unwrap();
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.caps, Limits::default().cap());
    assert_eq!(config.database, DatabaseSource::None);
    assert_eq!(config.retention, Duration::from_secs(7 * 86_400));
}

#[test]
fn caps_follow_from_the_limits_unless_they_are_set() {
    let text = "[limits]\nmemory = '128MiB'\npushes = 7\n[caps]\ntimeout = '1h'\n";
    let config = resolve(&[], &[], &[("/w/pgtq.toml", text)]).unwrap();
    assert_eq!(config.caps.memory, 512 << 20);
    assert_eq!(config.caps.pushes, 7);
    assert_eq!(config.caps.timeout, Duration::from_secs(3_600));
    assert_eq!(config.caps.fuel, 4 * Limits::default().fuel);
}

#[test]
fn each_layer_overrides_the_next() {
    let flag = [Flag {
        key: "database.url",
        flag: "--database-url",
        text: "postgres://flag".into(),
    }];
    let near = ("/w/pgtq.toml", "[database]\nurl = 'postgres://near'\n");
    let far = (
        "/home/pgtq.toml",
        "[database]\nurl = 'postgres://far'\nschema = 'far'\n",
    );
    let own = ("PGTQ_DATABASE_URL", "postgres://own");
    let common = ("DATABASE_URL", "postgres://common");
    let pg = ("PGHOST", "/tmp");
    let check = |flags: &[Flag], env: &[(&str, &str)], expected: &str, from: &str| {
        let config = resolve(flags, env, &[near, far]).unwrap();
        let found = match &config.database {
            DatabaseSource::Url(url) => url.clone(),
            other => format!("{other:?}"),
        };
        assert_eq!(found, expected);
        assert_eq!(origin(&config, "database.url"), from);
        assert_eq!(config.schema, "far");
    };
    check(
        &flag,
        &[own, common, pg],
        "postgres://flag",
        "flag --database-url",
    );
    check(
        &[],
        &[own, common, pg],
        "postgres://own",
        "environment PGTQ_DATABASE_URL",
    );
    check(
        &[],
        &[common, pg],
        "postgres://common",
        "environment DATABASE_URL",
    );
    check(&[], &[pg], "PgVariables", "/w/pgtq.toml:2");
    check(&[], &[], "postgres://near", "/w/pgtq.toml:2");
}

#[test]
fn an_empty_variable_is_ignored() {
    let config = resolve(&[], &[("PGTQ_SCHEMA", ""), ("PGHOST", "")], &[]).unwrap();
    assert_eq!(config.schema, "pgtq");
    assert_eq!(config.database, DatabaseSource::None);
}

#[test]
fn sections_of_handlers_and_queues_accept_any_name() {
    let text = "[handlers.'media.thumb']\nmemory = '256MiB'\ntimeout = '2m'\n\
                [queues.media]\nconcurrency = 3\n[run]\nqueues = ['default=2', '*']\n";
    let config = resolve(&[], &[], &[("pgtq.toml", text)]).unwrap();
    let asked = config.handlers[&Name::new("media.thumb").unwrap()];
    assert_eq!(asked.memory, Some(256 << 20));
    assert_eq!(asked.timeout_ms, Some(120_000));
    let slots: Vec<_> = config
        .run
        .queues
        .iter()
        .map(|spec| (spec.queue.as_ref().map(Name::as_str), spec.slots))
        .collect();
    assert_eq!(
        slots,
        [
            (Some("default"), Some(2)),
            (None, None),
            (Some("media"), Some(3))
        ]
    );
}

#[test]
fn a_path_is_relative_to_its_file() {
    let config = resolve(
        &[],
        &[],
        &[("/srv/app/pgtq.toml", "[plugins]\ndir = 'handlers'\n")],
    )
    .unwrap();
    assert_eq!(config.run.plugins, PathBuf::from("/srv/app/handlers"));
}

#[test]
fn invalid_files_are_rejected_with_line_and_hint() {
    let errors: Vec<String> = [
        "[run]\nconcurency = 3\n",
        "[rum]\nconcurrency = 3\n",
        "[limits]\nconcurrency = 3\n",
        "[limits]\n\ntimeout = 30\n",
        "[limits]\nmemory = '64 potatoes'\n",
        "[limits]\nmemory = 512\n",
        "[handlers.thumb]\nmemory = '9GiB'\n",
        "[limits]\nhost_bytes = '1KiB'\n",
        "[limits]\nwaiting = 0\n",
        "[plugins]\nwatch = 'sometimes'\n",
        "[run]\nqueues = 'a,a'\n",
        "[run]\nqueues = 'bad name'\n",
        "[handlers.thumb]\nmemroy = '1MiB'\n",
        "[handlers.'not a name']\nmemory = '1MiB'\n",
        "[run]\nconcurrency = 3.5\n",
        "[database]\nschema = 'Robert; drop'\n",
        "[database\n",
        "nonsense = 1\n",
    ]
    .iter()
    .map(|text| match resolve(&[], &[], &[("pgtq.toml", text)]) {
        Ok(_) => format!("accepted: {text}"),
        Err(ConfigError::UnknownKey { ref suggestion, .. }) if suggestion.is_some() => {
            let error = resolve(&[], &[], &[("pgtq.toml", text)]).unwrap_err();
            format!("{error}; did you mean `{}`?", suggestion.clone().unwrap())
        }
        Err(error) => error.to_string(),
    })
    .collect();
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn errors_of_durations_and_sizes_name_the_fix() {
    assert_eq!(values::duration("1h30m"), Ok(Duration::from_secs(5_400)));
    assert_eq!(values::duration("2 days"), Ok(Duration::from_secs(172_800)));
    assert_eq!(values::duration("250ms"), Ok(Duration::from_millis(250)));
    assert!(values::duration("30").unwrap_err().contains("`30s`"));
    assert!(values::duration("-5m").unwrap_err().contains("negative"));
    assert!(values::duration("1 month").is_err());
    assert_eq!(values::size("64MiB"), Ok(64 << 20));
    assert_eq!(values::size("1_000"), Ok(1_000));
    assert!(values::size("99999999999GiB").is_err());
    assert_eq!(values::count("10G"), Ok(10_000_000_000));
}
