//! Invalid input: clear errors and exit codes, and no data is lost.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pgtq_setup::postgres::{Data, PrivatePostgres, ServerOptions};
use pgtq_tests::{Database, Finished, cli, plugin, program, repository, wait_until};

use crate::fixture::{Fixture, start, wait_for_handlers};

/// The exit code and all output, for a snapshot.
fn status_and_stderr(finished: &Finished) -> String {
    let code = finished
        .code
        .map_or("a signal".to_owned(), |n| n.to_string());
    format!("status {code}\n{}{}", finished.stdout, finished.stderr)
}

/// Replaces the number after each `before` by `N`.
fn numberless(text: &str, before: &str) -> String {
    let mut parts = text.split(before);
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()));
    rest.fold(first, |all, part| format!("{all}{before}N{part}"))
}

/// The output of all commands, for one snapshot.
fn all_said(fixture: &Fixture, commands: &[&[&str]]) -> String {
    let mut text = String::new();
    for command in commands {
        let shown: Vec<&str> = command
            .iter()
            .map(|word| word.get(..60).unwrap_or(word))
            .collect();
        text.push_str(&format!(
            "$ pgtq {}\n{}\n",
            shown.join(" "),
            status_and_stderr(&fixture.pgtq(command))
        ));
    }
    text
}

#[tokio::test]
async fn an_invalid_push_is_rejected_with_a_hint() {
    let fixture = Fixture::with(&["hello"]).await;
    let _runner = fixture.runner(&[]);
    let long = "n".repeat(129);
    let golden = all_said(
        &fixture,
        &[
            &["push", "add_number", "a=2", "b=3"],
            &["push", "add_numbers", "a=2"],
            &["push", "add_numbers", "a=2", "c=3"],
            &["push", "add_numbers", "a=two", "b=3"],
            &["push", "add_numbers", "[1, 2, 3]"],
            &["push", "add_numbers", "{\"a\": 2"],
            &["push", "add_numbers", "@/no/such/file.json"],
            &["push", "not a name"],
            &["push", ""],
            &["push", &long],
            &["push", "add_numbers", "a=2", "b=3", "--queue", "not a name"],
        ],
    );
    insta::assert_snapshot!(golden);
    assert_eq!(fixture.sql("SELECT count(*) FROM pgtq.tasks").await, "0");
    // An unknown handler is accepted on request.
    fixture
        .pgtq(&["push", "later", "--allow-unknown"])
        .success();
    assert_eq!(
        fixture.sql("SELECT handler, state FROM pgtq.tasks").await,
        "later|runnable"
    );
}

#[tokio::test]
async fn arguments_over_a_mebibyte_are_rejected_by_every_interface() {
    let fixture = Fixture::with(&[]).await;
    let big = format!("[\"{}\"]", "x".repeat(1 << 20));
    let file = fixture.plugins.path().join("big.json");
    fs::write(&file, &big).unwrap();
    let by_file = format!("@{}", file.display());
    let by_file = fixture.pgtq(&["push", "h", &by_file, "--allow-unknown"]);
    insta::assert_snapshot!(status_and_stderr(&by_file));
    let by_input = cli(
        fixture.database.url(),
        &["push", "h", "-", "--allow-unknown"],
        &big,
    );
    assert_eq!(status_and_stderr(&by_input), status_and_stderr(&by_file));
    let by_batch = cli(
        fixture.database.url(),
        &["push", "h", "--batch", "-", "--allow-unknown"],
        &big,
    );
    assert_eq!(by_batch.code, Some(2), "{by_batch:?}");
    let by_sql = fixture
        .client
        .execute("SELECT pgtq.push('h', $1::text)", &[&big])
        .await;
    assert!(by_sql.is_err());
    assert_eq!(fixture.sql("SELECT count(*) FROM pgtq.tasks").await, "0");
}

#[tokio::test]
async fn one_invalid_line_rejects_the_whole_batch() {
    let fixture = Fixture::with(&["hello"]).await;
    let _runner = fixture.runner(&[]);
    let lines = "[1, 2]\n[3, 4]\n{\"a\": \"x\", \"b\": 1}\n";
    let bad = cli(
        fixture.database.url(),
        &["push", "add_numbers", "--batch", "-"],
        lines,
    );
    insta::assert_snapshot!(status_and_stderr(&bad));
    assert_eq!(fixture.sql("SELECT count(*) FROM pgtq.tasks").await, "0");
}

#[tokio::test]
async fn files_that_are_not_plugins_are_rejected_by_name_and_others_are_served() {
    let fixture = Fixture::with(&["hello"]).await;
    let good = fs::read(plugin("hello")).unwrap();
    let elf = fs::read("/proc/self/exe").map(|mut bytes| {
        bytes.truncate(64 << 10);
        bytes
    });
    let precompiled = b"\x7fELF\x02\x01\x01\0 .wasmtime.engine".to_vec();
    let future = wat::parse_str(r#"(component (import "pgtq:plugin/log@2.1.0" (instance)))"#);
    let strange = wat::parse_str(
        r#"(component (import "pgtq:plugin/log@1.0.0" (instance)) (import "wasi:nn/tensor@0.2.0" (instance)) (import "evil" (func)))"#,
    );
    let files = [
        ("component.wasm", wat::parse_str("(component)").unwrap()),
        ("elf.wasm", elf.unwrap()),
        ("empty.wasm", Vec::new()),
        ("future.wasm", future.unwrap()),
        ("half.wasm", good[..good.len() / 2].to_vec()),
        ("module.wasm", wat::parse_str("(module)").unwrap()),
        ("precompiled.wasm", precompiled),
        ("strange.wasm", strange.unwrap()),
        ("text.wasm", b"a shopping list\n".to_vec()),
    ];
    let _runner = fixture.runner(&[]);
    for (name, bytes) in &files {
        fs::write(fixture.plugins.path().join(name), bytes).unwrap();
    }
    let mut reasons = String::new();
    for (name, _) in &files {
        let line = fixture.wait_file(name, "refused");
        let reason = line.rsplit('\t').next().unwrap_or_default();
        reasons.push_str(&format!("{name}: {reason}\n"));
    }
    insta::assert_snapshot!(numberless(&reasons, "at byte "));
    let sum = fixture.pgtq(&["push", "add_numbers", "a=2", "b=3", "--wait"]);
    assert_eq!(sum.success(), "5");
}

#[tokio::test]
async fn an_invalid_replacement_does_not_unload_the_plugin() {
    let fixture = Fixture::with(&["hello"]).await;
    let _runner = fixture.runner(&[]);
    let file = fixture.plugins.path().join("hello.wasm");
    let beside = fixture.plugins.path().join("hello.new");
    fs::write(&beside, "oops").unwrap();
    fs::rename(&beside, &file).unwrap();
    let line = fixture.wait_file("hello.wasm", "refused");
    assert!(line.contains("not a WebAssembly file"), "{line}");
    assert_eq!(
        fixture
            .pgtq(&["push", "add_numbers", "[2,3]", "--wait"])
            .success(),
        "5"
    );
}

#[tokio::test]
async fn the_second_plugin_with_a_duplicate_handler_name_is_rejected() {
    let fixture = Fixture::with(&["hello"]).await;
    let _runner = fixture.runner(&[]);
    fixture.wait_file("hello.wasm", "live");
    fs::copy(plugin("hello"), fixture.plugins.path().join("twin.wasm")).unwrap();
    let line = fixture.wait_file("twin.wasm", "refused");
    insta::assert_snapshot!(line.rsplit('\t').next().unwrap_or_default());
    assert_eq!(
        fixture
            .pgtq(&["push", "add_numbers", "[2,3]", "--wait"])
            .success(),
        "5"
    );
}

/// Runs pgtq without any database setting, in an empty directory.
fn alone(arguments: &[&str], env: &[(&str, &Path)]) -> Finished {
    let here = tempfile::tempdir().expect("a temporary directory is created");
    let mut command = program();
    command
        .args(arguments)
        .current_dir(here.path())
        .env("HOME", here.path());
    for (name, value) in env {
        command.env(name, value);
    }
    let output = command.output().expect("pgtq starts");
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.replace(&*here.path().to_string_lossy(), "HERE")
    };
    Finished {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

#[test]
fn without_a_database_url_every_verb_says_what_to_set() {
    let pushed = alone(&["push", "h"], &[]);
    insta::assert_snapshot!(status_and_stderr(&pushed));
    assert_eq!(
        status_and_stderr(&alone(&["run"], &[])),
        status_and_stderr(&pushed)
    );
    assert_eq!(
        status_and_stderr(&alone(&["tasks"], &[])),
        status_and_stderr(&pushed)
    );
}

#[test]
fn a_database_down_at_startup_exits_with_4() {
    let url = "postgresql:///app?host=/nonexistent&user=app";
    for verb in ["run", "tasks"] {
        // One snapshot: both print the same.
        let down = cli(url, &[verb], "");
        insta::allow_duplicates!(insta::assert_snapshot!(status_and_stderr(&down)));
    }
}

#[tokio::test]
async fn a_newer_older_or_missing_schema_exits_with_5() {
    let fixture = Fixture::with(&[]).await;
    fixture
        .sql("INSERT INTO pgtq.migrations (version, name, sha256, serves) VALUES (9999, 'tomorrow', '', 9999)")
        .await;
    let newer = fixture.pgtq(&["run"]);
    insta::assert_snapshot!(numberless(
        &status_and_stderr(&newer),
        "this pgtq is for version "
    ));
    let nothing = Database::empty();
    insta::assert_snapshot!(status_and_stderr(&cli(nothing.url(), &["tasks"], "")));
}

#[test]
fn without_postgres_programs_the_alternatives_are_listed() {
    let empty = tempfile::tempdir().unwrap();
    let finished = alone(&["dev"], &[("PGTQ_PG_BIN", empty.path())]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    for words in ["no Postgres server programs", "PGTQ_PG_BIN", "help:"] {
        assert!(finished.stderr.contains(words), "{finished:?}");
    }
}

#[test]
fn without_a_wasm_toolchain_the_fix_is_shown() {
    let empty = tempfile::tempdir().unwrap();
    let dir = repository()
        .join("plugins/hello")
        .to_string_lossy()
        .into_owned();
    let env = [
        ("PATH", empty.path()),
        ("PGTQ_NO_INSTALL", Path::new("1")),
        ("PGTQ_CACHE_DIR", empty.path()),
    ];
    let finished = alone(&["build", &dir], &env);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    for words in ["wasm32-wasip2", "help: install rustup"] {
        assert!(finished.stderr.contains(words), "{finished:?}");
    }
}

#[test]
fn a_rustup_without_a_toolchain_is_told_to_install_one_before_the_target() {
    for (error, toolchain) in [
        (
            "rustup could not choose a version of rustc to run, because one wasn't specified explicitly, and no default is configured.",
            "stable",
        ),
        (
            "toolchain '1.95.0-x86_64-unknown-linux-gnu' is not installed",
            "1.95.0-x86_64-unknown-linux-gnu",
        ),
    ] {
        let programs = tempfile::tempdir().unwrap();
        for name in ["rustup", "rustc", "cargo"] {
            let file = programs.path().join(name);
            fs::write(
                &file,
                format!("#!/bin/sh\necho \"error: {error}\" >&2\nexit 1\n"),
            )
            .unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let dir = repository().join("plugins/hello");
        let finished = alone(
            &["build", &dir.to_string_lossy()],
            &[("PATH", programs.path())],
        );
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let fix = format!(
            "help: rustup toolchain install {toolchain} && rustup target add wasm32-wasip2"
        );
        assert!(finished.stderr.contains(&fix), "{finished:?}");
    }
}

#[tokio::test]
async fn a_deploy_into_a_read_only_directory_fails_with_the_reason() {
    let fixture = Fixture::with(&[]).await;
    let file = plugin("hello").to_string_lossy().into_owned();
    let deploy = fixture.pgtq(&["deploy", &file, "--plugins", "/dev/null/plugins"]);
    insta::assert_snapshot!(status_and_stderr(&deploy).replace(&file, "hello.wasm"));
}

#[tokio::test]
async fn an_unusable_cache_only_costs_time() {
    let fixture = Fixture::with(&["hello"]).await;
    let _runner = fixture.runner_with_env(&[], &[("PGTQ_CACHE", "/dev/null/cache")]);
    assert_eq!(
        fixture
            .pgtq(&["push", "add_numbers", "[2,3]", "--wait"])
            .success(),
        "5"
    );
}

#[tokio::test]
async fn an_interrupted_wait_does_not_cancel_the_task() {
    let fixture = Fixture::with(&["hello"]).await;
    let mut waiting = program()
        .args(["push", "add_numbers", "[2,3]", "--allow-unknown", "--wait"])
        .env("PGTQ_DATABASE_URL", fixture.database.url())
        .spawn()
        .unwrap();
    fixture
        .wait_sql("SELECT state FROM pgtq.tasks", "runnable")
        .await;
    let pid = i32::try_from(waiting.id()).unwrap();
    // SAFETY: kill takes two integers; the child is not reaped yet.
    unsafe { libc::kill(pid, libc::SIGINT) };
    let status = waiting.wait().unwrap();
    assert!(!status.success());
    let _runner = fixture.runner(&[]);
    fixture
        .wait_sql("SELECT state, result FROM pgtq.tasks", "complete|5")
        .await;
}

#[test]
fn a_runner_survives_a_database_restart_and_finishes_its_tasks() {
    let home = tempfile::tempdir().unwrap();
    let options = ServerOptions {
        data: Data::Keep(home.path().join("postgres")),
        // Commits must survive the shutdown.
        durable: true,
        ..ServerOptions::ephemeral()
    };
    let up = || PrivatePostgres::start(&options, &|_| {}).unwrap_or_else(|error| panic!("{error}"));
    let server = up();
    let url = server.url();
    cli(&url, &["migrate"], "").success();
    let plugins = pgtq_tests::plugin_dir(&["hello", "flaky"]);
    let mut runner = start(&url, plugins.path(), &[], &[]);
    wait_for_handlers(&url, &["add_numbers", "flaky.snooze"]);
    // When the server stops, some tasks are snoozed and one runs.
    for _ in 0..5 {
        cli(&url, &["push", "flaky.snooze", "ms=300"], "").success();
    }
    cli(&url, &["push", "add_numbers", "[2,3]", "--delay", "1s"], "").success();
    server.stop().unwrap();
    assert_eq!(cli(&url, &["tasks"], "").code, Some(4));
    let _server = up();
    wait_until("all tasks are complete", || {
        let done = cli(&url, &["tasks", "state:complete", "--output", "ids"], "");
        done.stdout.lines().count() == 6
    });
    let sum = cli(&url, &["push", "add_numbers", "[2,3]", "--wait"], "");
    assert_eq!(sum.success(), "5");
    runner.terminate();
    assert!(runner.wait().success());
}
