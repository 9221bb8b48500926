//! What the database takes and programs cannot hold, and users who may do little.

use pgtq_tests::{Database, Sql, cli};

use crate::tasks::database;

/// The JSON of a verb, parsed.
#[track_caller]
fn json(url: &str, verb: &[&str]) -> serde_json::Value {
    let out = cli(url, &[verb, &["-o", "json"]].concat(), "").success();
    serde_json::from_str(&out).expect("JSON")
}

#[test]
fn json_that_programs_cannot_hold_is_shown_as_text() {
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
fn json_that_programs_can_hold_is_shown_to_the_letter() {
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
fn tasks_due_after_the_end_of_time_are_listed() {
    let (database, sql) = database();
    // As older versions took them.
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

/// The address of a user of one kind.
fn user(database: &Database, sql: &Sql, kind: &str) -> String {
    let role = sql.row(&format!("SELECT current_database() || '_{kind}'"));
    sql.rows(&format!("CREATE ROLE {role} LOGIN"));
    cli(database.url(), &["roles", kind, &role], "").success();
    database.url().replace("user=pgtq", &format!("user={role}"))
}

#[test]
fn a_pusher_that_would_wait_is_told_before_anything_is_pushed() {
    let (database, sql) = database();
    let url = user(&database, &sql, "pusher");
    let push = ["push", "a", "--allow-unknown"];
    cli(&url, &push, "").success();
    let refused = cli(&url, &[&push[..], &["--wait"]].concat(), "");
    assert_eq!(refused.code, Some(2), "{refused:?}");
    for words in ["nothing was pushed", "pgtq roles viewer"] {
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    assert_eq!(sql.number("SELECT count(*) FROM pgtq.tasks"), 1);
}

#[test]
fn what_a_lesser_user_may_not_look_at_is_not_bad_for_the_doctor() {
    let (database, sql) = database();
    for kind in ["pusher", "worker", "viewer", "runner", "deployer"] {
        let url = user(&database, &sql, kind);
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
        assert_eq!(
            found.starts_with("not looked at"),
            hidden,
            "{kind}: {found}"
        );
    }
}
