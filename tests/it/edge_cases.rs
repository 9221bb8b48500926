//! Edge cases: JSON and times that programs cannot represent, and users with few
//! privileges.

use pgtq_tests::{Runner, RunnerOptions, User, cli};

use crate::tasks::database;

/// The JSON of a verb, parsed.
#[track_caller]
fn json(url: &str, verb: &[&str]) -> serde_json::Value {
    let out = cli(url, &[verb, &["-o", "json"]].concat(), "").success();
    serde_json::from_str(&out).expect("JSON")
}

#[test]
fn unrepresentable_json_is_shown_as_text() {
    let (database, sql) = database();
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    for args in ["[1e999999]", r#"["\ud800"]"#, &deep, "[1.50, 2]"] {
        let id = sql.row(&format!("SELECT pgtq.push('a', '{args}')"));
        let shown = json(database.url(), &["show", &id]);
        let listed = json(database.url(), &["tasks"]);
        let wanted = match args.starts_with("[1.50") {
            true => serde_json::json!([1.5, 2]),
            false => args.into(),
        };
        assert_eq!(shown["task"]["args"], wanted, "{shown}");
        assert_eq!(listed["tasks"][0]["args"], wanted, "{listed}");
        let exact = cli(database.url(), &["show", &id, "--args"], "").success();
        assert_eq!(exact, args);
    }
}

#[test]
fn representable_json_is_shown_unchanged() {
    let (database, sql) = database();
    let args = r#"{"b": 12345678901234567890123, "a": [1.50, " \" \u00e9"],  "a": {}}"#;
    let spread = args.replace(",  ", ",\n\t");
    let id = sql.row(&format!("SELECT pgtq.push('a', '{spread}')"));
    let letters = |text: &str| text.replace(char::is_whitespace, "");
    for (verb, lines) in [
        (&["show", &id, "-o", "jsonl"][..], 1),
        (&["tasks", "-o", "jsonl"], 1),
        (&["show", &id, "-o", "json"], 2),
        (&["tasks", "-o", "json"], 2),
    ] {
        let out = cli(database.url(), verb, "").success();
        assert!(letters(&out).contains(&letters(args)), "{out}");
        assert_eq!(out.lines().count().min(2), lines, "{out}");
    }
}

#[test]
fn tasks_due_beyond_the_timestamp_range_are_listed() {
    let (database, sql) = database();
    // Older versions accepted these.
    sql.rows("ALTER TABLE pgtq.scheduled_tasks DROP CONSTRAINT run_at_sane");
    for at in ["20000-01-01", "infinity", "-infinity"] {
        sql.rows(&format!(
            "INSERT INTO pgtq.scheduled_tasks (id, queue, handler, priority, run_at, args)
             VALUES (nextval('pgtq.task_ids'), 'default', 'a', 0, '{at}', '{{}}')"
        ));
        let listed = json(database.url(), &["tasks"]);
        assert_eq!(listed["tasks"][0]["state"], "scheduled", "{listed}");
        for format in ["table", "jsonl", "ids"] {
            cli(database.url(), &["tasks", "-o", format], "").success();
        }
        let id = listed["tasks"][0]["id"].to_string();
        cli(database.url(), &["show", &id], "").success();
    }
    cli(database.url(), &["queues"], "").success();
}

#[test]
fn a_push_due_in_over_a_century_is_rejected_with_a_hint() {
    let (database, sql) = database();
    let line = r#"{"handler": "a", "run_at": "9999-12-30T00:00Z"}"#;
    for (when, stdin) in [
        (&["a", "--at", "2300-01-01T00:00Z"][..], ""),
        (&["a", "--at", "9999-12-30T00:00Z"], ""),
        (&["a", "--delay", "36600 days"], ""),
        (&["a", "--delay", "7000000 days"], ""),
        (&["--batch", "-"], line),
    ] {
        let push = [&["push", "--allow-unknown"], when].concat();
        let rejected = cli(database.url(), &push, stdin);
        assert_ne!(rejected.code, Some(0), "{rejected:?}");
        for words in ["for a century", "within 100 years"] {
            assert!(rejected.stderr.contains(words), "{rejected:?}");
        }
    }
    assert_eq!(sql.number("SELECT count(*) FROM pgtq.tasks"), 0);
}

#[test]
fn a_plugin_name_that_is_not_a_file_is_reported_once() {
    let (database, _sql) = database();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("dir.wasm")).expect("a directory");
    std::os::unix::fs::symlink("nothing", path("link.wasm")).expect("a link");
    let mut runner = Runner::start(database.url(), folder.path(), &RunnerOptions::default());
    let expected = [
        "plugin dir.wasm: refused: it is a directory, not a file",
        "plugin link.wasm: refused: it is a link to nothing",
    ];
    for words in expected {
        runner.wait_for(words);
    }
    // A rescan of the directory does not report them again.
    std::fs::write(path("late.wasm"), "no plugin").expect("a file");
    runner.wait_for("plugin late.wasm: refused");
    let all = runner.stderr();
    for words in expected {
        assert_eq!(all.matches(words).count(), 1, "{all}");
    }
}

#[test]
fn a_wait_without_read_privilege_is_rejected_before_the_push() {
    let (database, sql) = database();
    let User { url, .. } = User::of_kind("pusher", database.url(), &sql);
    let push = ["push", "a", "--allow-unknown"];
    cli(&url, &push, "").success();
    let rejected = cli(&url, &[&push[..], &["--wait"]].concat(), "");
    assert_eq!(rejected.code, Some(2), "{rejected:?}");
    for words in ["nothing was pushed", "pgtq roles viewer"] {
        assert!(rejected.stderr.contains(words), "{rejected:?}");
    }
    assert_eq!(sql.number("SELECT count(*) FROM pgtq.tasks"), 1);
}

#[test]
fn missing_read_privileges_are_not_bad_for_the_doctor() {
    let (database, sql) = database();
    for kind in ["pusher", "worker", "viewer", "runner", "deployer"] {
        let User { url, .. } = User::of_kind(kind, database.url(), &sql);
        let seen = cli(&url, &["doctor", "-o", "json"], "");
        let seen: serde_json::Value = serde_json::from_str(&seen.stdout).expect("JSON");
        let checks = seen["checks"].as_array().expect("a list");
        let of = |name: &str| checks.iter().find(|check| check["check"] == name);
        for name in ["schema", "migrations", "runners", "queues"] {
            let Some(check) = of(name) else { continue };
            assert_ne!(check["status"], "bad", "{kind}: {check}");
        }
        let runners = of("runners").expect("a check");
        let found = runners["found"].as_str().expect("text");
        let hidden = matches!(kind, "pusher" | "worker");
        assert_eq!(found.starts_with("not checked"), hidden, "{kind}: {found}");
    }
}
