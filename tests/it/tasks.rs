//! What the tests of runners ask of a database, and how they start a runner.

use std::path::Path;

use pgtq_tests::{Database, Runner, RunnerOptions, Sql, wait_until};

/// Tasks that have not ended, wherever they are.
pub(crate) const UNENDED: &str = "SELECT (SELECT count(*) FROM pgtq.runnable_tasks)
    + (SELECT count(*) FROM pgtq.scheduled_tasks) + (SELECT count(*) FROM pgtq.running)";

/// A migrated database and a connection to it.
pub(crate) fn database() -> (Database, Sql) {
    let database = Database::migrated();
    let sql = Sql::connect(database.url());
    (database, sql)
}

/// A runner whose plugins are loaded. `config` is its `pgtq.toml`.
#[track_caller]
pub(crate) fn runner(url: &str, plugins: &Path, config: &str, arguments: &[&str]) -> Runner {
    // Not `*.wasm`, so the plugin directory is a fine place for it.
    let file = plugins.join("pgtq.toml");
    std::fs::write(&file, config).expect("a configuration is written");
    let options = RunnerOptions {
        arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
        env: vec![("PGTQ_CONFIG".to_owned(), file.display().to_string())],
    };
    let mut runner = Runner::start(url, plugins, &options);
    runner.wait_for("registered");
    runner
}

/// Pushes `n` tasks with the same arguments.
#[track_caller]
pub(crate) fn push(sql: &Sql, handler: &str, n: usize, args: &str) {
    sql.rows(&format!(
        "SELECT count(pgtq.push('{handler}', '{args}')) FROM generate_series(1, {n})"
    ));
}

/// Tasks that have ended.
#[track_caller]
pub(crate) fn n_ended(sql: &Sql) -> i64 {
    sql.number("SELECT count(*) FROM pgtq.history")
}

/// Waits until `n` tasks have ended, however long it takes while some do.
#[track_caller]
pub(crate) fn wait_for_ended(sql: &Sql, n: usize) {
    let n = i64::try_from(n).expect("small");
    let mut before = n_ended(sql);
    while before < n {
        let mut now = before;
        wait_until(&format!("more than {before} of {n} tasks ended"), || {
            now = n_ended(sql);
            now > before
        });
        before = now;
    }
}

/// Panics unless exactly `n` tasks were completed, each once, and none is left.
#[track_caller]
pub(crate) fn assert_completed_once(sql: &Sql, n: usize) {
    let found = sql.row(
        "SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE state = 'complete')
         FROM pgtq.history",
    );
    let all = format!("{n}|{n}|{n}");
    assert_eq!(found, all, "rows, tasks, complete tasks; {}", others(sql));
    assert_eq!(sql.number(UNENDED), 0, "tasks are left");
}

/// What ended in another way, for the message of a test that fails.
fn others(sql: &Sql) -> String {
    let rows = sql.rows(
        "SELECT state, error_kind, error_message, count(*) FROM pgtq.history
         WHERE state <> 'complete' GROUP BY 1, 2, 3 LIMIT 5",
    );
    format!("not complete: {rows:?}")
}
