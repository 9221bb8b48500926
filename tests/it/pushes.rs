//! Pushing as a capability: which handlers, queues, priorities and keys a plugin can use
//! with and without a grant, and how many of its tasks may wait.

use std::path::Path;

use pgtq_tests::{Runner, Sql, cli, plugin_dir, wait_until};

use crate::tasks::{UNFINISHED, database, push, runner};

const BOMB: &str = "flaky.doubles";

/// Runs a new task of `flaky.push_to`. Returns its state and error code.
fn outcome(sql: &Sql, args: &str) -> String {
    let id = sql.number(&format!("SELECT pgtq.push('flaky.push_to', '{args}')"));
    let found = format!("SELECT state, error_code FROM pgtq.history WHERE id = {id}");
    let mut rows = Vec::new();
    wait_until(&format!("the push of {args} is finished"), || {
        rows = sql.rows(&found);
        !rows.is_empty()
    });
    rows.remove(0)
}

fn regrant(runner: &mut Runner, dir: &Path, rules: &str, message: &str) {
    let text = format!("[grants.flaky]\npush = [{rules}]\n");
    std::fs::write(dir.join("pgtq.toml"), text).expect("a configuration is written");
    runner.wait_for(message);
}

#[test]
fn a_plugin_reaches_another_plugins_handler_only_with_a_grant() {
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky", "hello"]);
    let mut runner = runner(database.url(), dir.path(), "", &[]);
    runner.wait_for("push = [\"add_numbers queue=urgent priority=-10\"]");
    let config = dir.path().join("pgtq.toml").display().to_string();
    let wasm = dir.path().join("flaky.wasm").display().to_string();
    let inspect = ["inspect", wasm.as_str(), "--json", "--config", &config];
    let inspected = cli(database.url(), &inspect, "").success();
    let inspected: serde_json::Value = serde_json::from_str(&inspected).expect("JSON");
    let asked = inspected["asked"].as_array().expect("a list").iter();
    let pushes: Vec<_> = asked.filter(|asked| asked["need"] == "push").collect();
    assert_eq!(pushes.len(), 1, "{pushes:?}");
    assert_eq!(pushes[0]["what"], "add_numbers queue=urgent priority=-10");
    assert_eq!(pushes[0]["answer"], "refused");
    let denied = "push add_numbers queue=urgent priority=-10";
    wait_until("the runner has logged what it denies", || {
        let plugins = cli(database.url(), &["plugins"], "").success();
        plugins.contains(denied)
    });
    let added =
        || sql.rows("SELECT queue, priority, state FROM pgtq.tasks WHERE handler = 'add_numbers'");

    let plain = r#"{"handler": "add_numbers", "args": [2, 3]}"#;
    assert_eq!(outcome(&sql, plain), "failed|denied");
    // An undeclared push is denied, even if it is granted.
    let other = r#"{"handler": "greet", "args": ["Ada"]}"#;
    assert_eq!(outcome(&sql, other), "failed|denied");
    assert!(added().is_empty());

    let granted = "plugin `flaky` was granted push";
    regrant(&mut runner, dir.path(), "'add_numbers', 'greet'", granted);
    assert_eq!(outcome(&sql, plain), "complete|");
    wait_until("the child is done", || added() == ["default|0|complete"]);
    assert_eq!(outcome(&sql, other), "failed|denied");
    let urgent =
        r#"{"handler": "add_numbers", "args": [2, 3], "queue": "urgent", "priority": -10}"#;
    assert_eq!(outcome(&sql, urgent), "failed|denied");
    let more = "'add_numbers queue=urgent priority=-10'";
    regrant(
        &mut runner,
        dir.path(),
        more,
        "grants of plugin `flaky` changed: push",
    );
    assert_eq!(outcome(&sql, urgent), "complete|");
    wait_until("the urgent child is done", || {
        added().contains(&"urgent|-10|complete".to_owned())
    });
    let beyond = urgent.replace("-10", "-11");
    assert_eq!(outcome(&sql, &beyond), "failed|denied");
    assert_eq!(added().len(), 2);
}

#[test]
fn keys_of_plugins_and_applications_are_separate_unless_shared() {
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky"]);
    let mut runner = runner(database.url(), dir.path(), "", &[]);
    let child = |handler: &str| {
        format!(r#"{{"handler": "{handler}", "args": {{"good": 1}}, "key": "order-42"}}"#)
    };
    let n = |handler: &str| {
        sql.number(&format!(
            "SELECT count(*) FROM pgtq.tasks WHERE handler = '{handler}' AND key = 'order-42'"
        ))
    };
    // The plugin pushed first, and the application's key is separate.
    assert_eq!(outcome(&sql, &child("flaky.until")), "complete|");
    assert_eq!(n("flaky.until"), 1);
    let mine = "SELECT pgtq.push('flaky.until', '{\"good\": 1}', key => 'order-42')";
    let id = sql.number(mine);
    assert_eq!((sql.number(mine), n("flaky.until")), (id, 2));

    // The same key of the same plugin, from another task and for another handler.
    assert_eq!(outcome(&sql, &child("flaky.until")), "complete|");
    assert_eq!(outcome(&sql, &child("flaky.pushes")), "complete|");
    assert_eq!((n("flaky.until"), n("flaky.pushes")), (2, 0));

    let rules = "'flaky.* keys=shared'";
    let granted = "plugin `flaky` was granted push";
    regrant(&mut runner, dir.path(), rules, granted);
    assert_eq!(outcome(&sql, &child("flaky.pushes")), "complete|");
    assert_eq!(n("flaky.pushes"), 0, "the application has the key");
    let other = child("flaky.until").replace("order-42", "order-43");
    assert_eq!(outcome(&sql, &other), "complete|");
    let owner = "SELECT parent IS NOT NULL FROM pgtq.tasks WHERE id =
        pgtq.push('flaky.until', '{\"good\": 1}', key => 'order-43')";
    assert_eq!(sql.rows(owner), ["t"], "the child has the key");
}

#[test]
fn a_self_doubling_plugin_stops_at_the_limit_of_waiting_tasks() {
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky", "hello"]);
    let config = "[limits]\nwaiting = 500\n";
    let mut runner = runner(database.url(), dir.path(), config, &["-c", "4"]);
    push(&sql, BOMB, 1, "[1000000000]");
    let denied = "SELECT count(*) FROM pgtq.history WHERE state = 'failed'
        AND error_message LIKE '%tasks of this plugin wait already, its limit is 500%'";
    wait_until("pushes are denied", || sql.number(denied) > 1_000);
    // At most what was pushed between two checks, one or two seconds.
    let waiting = sql.number(UNFINISHED);
    assert!(waiting < 100_000, "{waiting} tasks wait");
    // Applications can push, and other plugins work.
    push(&sql, "add_numbers", 100, "[2, 3]");
    let added = "SELECT count(*) FROM pgtq.complete WHERE handler = 'add_numbers'";
    wait_until("others' tasks are done", || sql.number(added) == 100);
    let pause = cli(database.url(), &["pause", "--handler", BOMB], "");
    assert_eq!(pause.code, Some(0), "{pause:?}");
    assert!(runner.exited().is_none(), "{}", runner.stderr());
}

#[test]
fn a_handler_of_another_file_on_another_runner_is_not_the_plugins_own() {
    let (database, sql) = database();
    let here = plugin_dir(&["flaky"]);
    let there = plugin_dir(&[]);
    // The same handlers in another file: with an additional custom section.
    let mut file = std::fs::read(here.path().join("flaky.wasm")).expect("a plugin");
    file.extend([0, 5, 4, b'm', b'i', b'n', b'e']);
    std::fs::write(there.path().join("other.wasm"), file).expect("a file is written");
    // Serves no queue with tasks.
    let options = ["--queues", "nothing"];
    let other = runner(database.url(), there.path(), "", &options);
    wait_until("the other runner has registered its handlers", || {
        sql.number("SELECT count(*) FROM pgtq.handlers WHERE file = 'other.wasm'") > 0
    });
    let _runner = runner(database.url(), here.path(), "", &[]);
    let own = r#"{"handler": "flaky.until", "args": {"good": 1}}"#;
    wait_until("the runner has read the other handlers", || {
        outcome(&sql, own) == "failed|denied"
    });
    drop(other);
    wait_until("the lease of the other runner has expired", || {
        outcome(&sql, own) == "complete|"
    });
}
