//! Pushing as a capability, by whole processes: which handlers, queues, priorities and
//! keys a plugin reaches with and without a grant, and how much of it may wait.

use std::path::Path;

use pgtq_tests::{Runner, Sql, cli, plugin_dir, wait_until};

use crate::tasks::{UNENDED, database, push, runner};

const BOMB: &str = "flaky.doubles";

/// How a new task of `flaky.push_to` ends: its state and the code of its error.
fn ending(sql: &Sql, args: &str) -> String {
    let id = sql.number(&format!("SELECT pgtq.push('flaky.push_to', '{args}')"));
    let found = format!("SELECT state, error_code FROM pgtq.history WHERE id = {id}");
    let mut rows = Vec::new();
    wait_until(&format!("the push of {args} has ended"), || {
        rows = sql.rows(&found);
        !rows.is_empty()
    });
    rows.remove(0)
}

fn regrant(runner: &mut Runner, dir: &Path, rules: &str, told: &str) {
    let text = format!("[grants.flaky]\npush = [{rules}]\n");
    std::fs::write(dir.join("pgtq.toml"), text).expect("a configuration is written");
    runner.wait_for(told);
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
    let refused = "push add_numbers queue=urgent priority=-10";
    wait_until("the runner has told what it refuses", || {
        let plugins = cli(database.url(), &["plugins"], "").success();
        plugins.contains(refused)
    });
    let added =
        || sql.rows("SELECT queue, priority, state FROM pgtq.tasks WHERE handler = 'add_numbers'");

    let plain = r#"{"handler": "add_numbers", "args": [2, 3]}"#;
    assert_eq!(ending(&sql, plain), "failed|denied");
    // Nor with what it does not ask for, even if it is granted.
    let other = r#"{"handler": "greet", "args": ["Ada"]}"#;
    assert_eq!(ending(&sql, other), "failed|denied");
    assert!(added().is_empty());

    let granted = "plugin `flaky` was granted push";
    regrant(&mut runner, dir.path(), "'add_numbers', 'greet'", granted);
    assert_eq!(ending(&sql, plain), "complete|");
    wait_until("the child is done", || added() == ["default|0|complete"]);
    assert_eq!(ending(&sql, other), "failed|denied");
    let urgent =
        r#"{"handler": "add_numbers", "args": [2, 3], "queue": "urgent", "priority": -10}"#;
    assert_eq!(ending(&sql, urgent), "failed|denied");
    let more = "'add_numbers queue=urgent priority=-10'";
    regrant(
        &mut runner,
        dir.path(),
        more,
        "grants of plugin `flaky` changed: push",
    );
    assert_eq!(ending(&sql, urgent), "complete|");
    wait_until("the urgent child is done", || {
        added().contains(&"urgent|-10|complete".to_owned())
    });
    let beyond = urgent.replace("-10", "-11");
    assert_eq!(ending(&sql, &beyond), "failed|denied");
    assert_eq!(added().len(), 2);
}

#[test]
fn keys_of_a_plugin_and_of_applications_never_meet_unless_they_are_shared() {
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
    // The plugin was first: the application's key is its own all the same.
    assert_eq!(ending(&sql, &child("flaky.until")), "complete|");
    assert_eq!(n("flaky.until"), 1);
    let mine = "SELECT pgtq.push('flaky.until', '{\"good\": 1}', key => 'order-42')";
    let id = sql.number(mine);
    assert_eq!((sql.number(mine), n("flaky.until")), (id, 2));

    // Of another task and for another handler: the same key of the same plugin.
    assert_eq!(ending(&sql, &child("flaky.until")), "complete|");
    assert_eq!(ending(&sql, &child("flaky.pushes")), "complete|");
    assert_eq!((n("flaky.until"), n("flaky.pushes")), (2, 0));

    let rules = "'flaky.* keys=shared'";
    let granted = "plugin `flaky` was granted push";
    regrant(&mut runner, dir.path(), rules, granted);
    assert_eq!(ending(&sql, &child("flaky.pushes")), "complete|");
    assert_eq!(n("flaky.pushes"), 0, "the application has the key");
    let other = child("flaky.until").replace("order-42", "order-43");
    assert_eq!(ending(&sql, &other), "complete|");
    let owner = "SELECT parent IS NOT NULL FROM pgtq.tasks WHERE id =
        pgtq.push('flaky.until', '{\"good\": 1}', key => 'order-43')";
    assert_eq!(sql.rows(owner), ["t"], "the child has the key");
}

#[test]
fn a_plugin_that_pushes_itself_twice_is_stopped_at_the_limit_of_waiting_tasks() {
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky", "hello"]);
    let config = "[limits]\nwaiting = 500\n";
    let mut runner = runner(database.url(), dir.path(), config, &["-c", "4"]);
    push(&sql, BOMB, 1, "[1000000000]");
    let refused = "SELECT count(*) FROM pgtq.history WHERE state = 'failed'
        AND error_message LIKE '%tasks of this plugin wait already, its limit is 500%'";
    wait_until("pushes are refused", || sql.number(refused) > 1_000);
    // What was pushed within the second or two before a look, and no more.
    let waiting = sql.number(UNENDED);
    assert!(waiting < 100_000, "{waiting} tasks wait");
    // An application pushes on, and other plugins work on.
    push(&sql, "add_numbers", 100, "[2, 3]");
    let added = "SELECT count(*) FROM pgtq.complete WHERE handler = 'add_numbers'";
    wait_until("others' tasks are done", || sql.number(added) == 100);
    let pause = cli(database.url(), &["pause", "--handler", BOMB], "");
    assert_eq!(pause.code, Some(0), "{pause:?}");
    assert!(runner.ended().is_none(), "{}", runner.stderr());
}

#[test]
fn a_handler_that_a_stranger_serves_on_another_runner_is_not_a_plugins_own() {
    let (database, sql) = database();
    let here = plugin_dir(&["flaky"]);
    let there = plugin_dir(&[]);
    // The same handlers in other bytes, under another name: a custom section more.
    let mut file = std::fs::read(here.path().join("flaky.wasm")).expect("a plugin");
    file.extend([0, 5, 4, b'm', b'i', b'n', b'e']);
    std::fs::write(there.path().join("stranger.wasm"), file).expect("a file is written");
    // Serves no queue that has tasks.
    let other = ["--queues", "nothing"];
    let stranger = runner(database.url(), there.path(), "", &other);
    wait_until("the stranger has told its handlers", || {
        sql.number("SELECT count(*) FROM pgtq.handlers WHERE file = 'stranger.wasm'") > 0
    });
    let _runner = runner(database.url(), here.path(), "", &[]);
    let own = r#"{"handler": "flaky.until", "args": {"good": 1}}"#;
    wait_until("the runner has looked at the others", || {
        ending(&sql, own) == "failed|denied"
    });
    drop(stranger);
    wait_until("the lease of the stranger has ended", || {
        ending(&sql, own) == "complete|"
    });
}
