//! A runner beside a newer one that pushes tasks with traits it does not know.

use pgtq_tests::{plugin_dir, wait_until};

use crate::tasks::{database, push, runner, wait_for_ended};

#[test]
fn a_task_with_an_unknown_trait_is_put_back_and_one_with_information_runs() {
    let (database, sql) = database();
    push(&sql, "add_numbers", 30, "[2, 3]");
    // As a newer version of the functions would push them.
    sql.rows(
        r#"UPDATE pgtq.runnable_tasks SET traits = CASE id % 3
               WHEN 0 THEN '{"g": "acme", "_t": "00-1"}' WHEN 1 THEN '{"_t": "00-1"}' END::jsonb"#,
    );
    let plugins = plugin_dir(&["hello"]);
    let mut runner = runner(database.url(), plugins.path(), "", &[]);
    wait_for_ended(&sql, 20);
    wait_until("the others are released", || {
        sql.number("SELECT count(*) FROM pgtq.scheduled") == 10
    });
    // Whole, without an attempt counted.
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
    let said = runner.stderr();
    let lines: Vec<&str> = said
        .lines()
        .filter(|l| l.contains("released a task"))
        .collect();
    assert_eq!(lines.len(), 1, "once a minute: {lines:#?}");
    assert!(lines[0].contains("traits=\"g\""), "{}", lines[0]);

    // A newer runner takes them; here, what they need is taken away.
    sql.rows(
        "UPDATE pgtq.scheduled_tasks SET traits = traits - 'g';
         SELECT pgtq.retry_tasks(ARRAY(SELECT id FROM pgtq.scheduled_tasks))",
    );
    wait_for_ended(&sql, 30);
    assert_eq!(
        sql.row("SELECT count(*), sum(attempts) FROM pgtq.complete"),
        "30|30"
    );
    runner.terminate();
    assert!(runner.wait().success());
}
