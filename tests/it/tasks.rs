//! Helpers of runner tests: queries, and the start of a runner.

use std::path::Path;

use pgtq_tests::{Database, Runner, RunnerOptions, Sql, wait_until};

/// The number of unfinished tasks in all tables.
pub(crate) const UNFINISHED: &str = "SELECT (SELECT count(*) FROM pgtq.runnable_tasks)
    + (SELECT count(*) FROM pgtq.scheduled_tasks) + (SELECT count(*) FROM pgtq.running)";

/// A migrated database and a connection to it.
pub(crate) fn database() -> (Database, Sql) {
    let database = Database::migrated();
    let sql = Sql::connect(database.url());
    (database, sql)
}

/// Starts a runner and waits until its plugins are loaded. `config` is its `pgtq.toml`.
#[track_caller]
pub(crate) fn runner(url: &str, plugins: &Path, config: &str, arguments: &[&str]) -> Runner {
    // In the plugin directory, where only `*.wasm` files are loaded.
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

/// The number of finished tasks.
#[track_caller]
pub(crate) fn n_finished(sql: &Sql) -> i64 {
    sql.number("SELECT count(*) FROM pgtq.history")
}

/// Waits until `n` tasks are finished, without a limit while there is progress.
#[track_caller]
pub(crate) fn wait_for_finished(sql: &Sql, n: usize) {
    let n = i64::try_from(n).expect("small");
    let mut before = n_finished(sql);
    while before < n {
        let mut now = before;
        wait_until(
            &format!("more than {before} of {n} tasks are finished"),
            || {
                now = n_finished(sql);
                now > before
            },
        );
        before = now;
    }
}

/// Panics unless exactly `n` tasks are complete, each once, and no task is left.
#[track_caller]
pub(crate) fn assert_completed_once(sql: &Sql, n: usize) {
    let found = sql.row(
        "SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE state = 'complete')
         FROM pgtq.history",
    );
    let all = format!("{n}|{n}|{n}");
    assert_eq!(found, all, "rows, tasks, complete tasks; {}", others(sql));
    assert_eq!(sql.number(UNFINISHED), 0, "tasks are left");
}

/// Other outcomes, for the message of a failed test.
fn others(sql: &Sql) -> String {
    let rows = sql.rows(
        "SELECT state, error_kind, error_message, count(*) FROM pgtq.history
         WHERE state <> 'complete' GROUP BY 1, 2, 3 LIMIT 5",
    );
    format!("not complete: {rows:?}")
}
