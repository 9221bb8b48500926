//! Tasks with traits that a runner does not know, as pushed by a newer version.

use pgtq_tests::{plugin_dir, wait_until};

use crate::tasks::{database, push, runner, wait_for_finished};

#[test]
fn a_task_with_an_unknown_trait_is_released_and_one_with_metadata_runs() {
    let (database, sql) = database();
    push(&sql, "add_numbers", 30, "[2, 3]");
    // As a newer version of the functions would push them.
    sql.rows(
        r#"UPDATE pgtq.runnable_tasks SET traits = CASE id % 3
               WHEN 0 THEN '{"g": "acme", "_t": "00-1"}' WHEN 1 THEN '{"_t": "00-1"}' END::jsonb"#,
    );
    let plugins = plugin_dir(&["hello"]);
    let mut runner = runner(database.url(), plugins.path(), "", &[]);
    wait_for_finished(&sql, 20);
    wait_until("the others are released", || {
        sql.number("SELECT count(*) FROM pgtq.scheduled") == 10
    });
    // Unchanged, without using an attempt.
    assert_eq!(
        sql.row(
            r#"SELECT count(*), sum(attempts), count(*) FILTER (WHERE traits = '{"g": "acme", "_t": "00-1"}')
               FROM pgtq.scheduled_tasks WHERE id % 3 = 0"#
        ),
        "10|0|10"
    );
    assert_eq!(
        sql.row(
            r#"SELECT count(*) FILTER (WHERE traits = '{"_t": "00-1"}'), count(*) FILTER (WHERE traits IS NULL)
               FROM pgtq.complete JOIN pgtq.history USING (id)"#
        ),
        "10|10"
    );
    let log = runner.stderr();
    let lines: Vec<&str> = log
        .lines()
        .filter(|l| l.contains("released a task"))
        .collect();
    assert_eq!(lines.len(), 1, "once a minute: {lines:#?}");
    assert!(lines[0].contains("traits=\"g\""), "{}", lines[0]);

    // A newer runner would run them. Here, the unknown trait is removed.
    sql.rows(
        "UPDATE pgtq.scheduled_tasks SET traits = traits - 'g';
         SELECT pgtq.retry_tasks(ARRAY(SELECT id FROM pgtq.scheduled_tasks))",
    );
    wait_for_finished(&sql, 30);
    assert_eq!(
        sql.row("SELECT count(*), sum(attempts) FROM pgtq.complete"),
        "30|30"
    );
    runner.terminate();
    assert!(runner.wait().success());
}
