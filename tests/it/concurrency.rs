//! Several runners on one database, and tasks that could delay each other.

use pgtq_tests::{Runner, cli, plugin_dir, wait_until};

use crate::tasks::{assert_completed_once, database, n_finished, push, runner, wait_for_finished};

#[test]
fn three_runners_execute_each_task_once() {
    const N: usize = 5_000;
    let (database, sql) = database();
    let dir = plugin_dir(&["hello"]);
    let _runners = ["one", "two", "three"]
        .map(|name| runner(database.url(), dir.path(), "", &["--name", name]));
    for _ in 0..10 {
        push(&sql, "add_numbers", N / 10, "[2, 3]");
    }
    wait_for_finished(&sql, N);
    assert_completed_once(&sql, N);
    assert_eq!(
        sql.row("SELECT max(attempts), max(crashes) FROM pgtq.history"),
        "1|0"
    );
    assert_eq!(sql.number("SELECT count(*) FROM pgtq.attempts"), 0);
    let shares = sql.rows("SELECT runner_id, count(*) FROM pgtq.history GROUP BY 1 ORDER BY 1");
    eprintln!("tasks of each runner: {shares:?}");
}

#[test]
fn starting_and_stopping_runners_lose_no_task() {
    const N: usize = 3_000;
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky", "hello"]);
    push(&sql, "add_numbers", N / 2, "[2, 3]");
    push(&sql, "flaky.sleep", N / 2, "[5]");
    let mut n_generations = 0;
    while n_finished(&sql) < i64::try_from(N).expect("small") {
        let mut two = [(), ()].map(|()| runner(database.url(), dir.path(), "", &[]));
        let before = n_finished(&sql);
        let all = i64::try_from(N).expect("small");
        wait_until("some more tasks have ended", || {
            n_finished(&sql) >= (before + 400).min(all)
        });
        two.iter().for_each(Runner::terminate);
        for one in &mut two {
            assert_eq!(one.wait().code(), Some(0), "{}", one.stderr());
        }
        assert_eq!(sql.number("SELECT count(*) FROM pgtq.claims"), 0);
        n_generations += 1;
    }
    assert_completed_once(&sql, N);
    assert_eq!(
        sql.row("SELECT max(attempts), max(crashes) FROM pgtq.history"),
        "1|0"
    );
    eprintln!("{n_generations} generations of two runners");
}

#[test]
fn unserved_tasks_do_not_delay_others() {
    const UNKNOWN: usize = 20_000;
    let (database, sql) = database();
    let dir = plugin_dir(&["hello"]);
    sql.rows(&format!(
        "SELECT count(pgtq.push('nobody_has_this', '{{}}', priority => -10))
         FROM generate_series(1, {UNKNOWN})"
    ));
    // Many lanes and many tasks.
    sql.rows(
        "SELECT count(pgtq.push('unknown_' || n, '{}', priority => -10)) FROM generate_series(1, 500) AS n",
    );
    push(&sql, "add_numbers", 100, "[2, 3]");
    let runner = runner(database.url(), dir.path(), "", &[]);
    wait_for_finished(&sql, 100);
    let one = cli(
        database.url(),
        &["push", "add_numbers", "a=2", "b=3", "--wait"],
        "",
    );
    assert_eq!(one.success(), "5");
    let untouched =
        sql.row("SELECT count(*), max(attempts) FROM pgtq.runnable WHERE handler <> 'add_numbers'");
    assert_eq!(untouched, format!("{}|0", UNKNOWN + 500));
    assert_eq!(sql.number("SELECT count(*) FROM pgtq.complete"), 101);
    drop(runner);
}

#[test]
fn paused_and_full_queues_do_not_delay_others() {
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky", "hello"]);
    let config = "[handlers.'flaky.sleep']\ntimeout = '10m'";
    let runner = runner(
        database.url(),
        dir.path(),
        config,
        &["--queues", "slow=2,*=2"],
    );
    sql.rows("SELECT pgtq.pause(queue => 'still')");
    sql.rows(
        "SELECT pgtq.push('flaky.sleep', '[600000]', queue => 'slow'),
                pgtq.push('add_numbers', '[2, 3]', queue => 'still') FROM generate_series(1, 10)",
    );
    let held = "SELECT count(*) FROM pgtq.running WHERE queue = 'slow'";
    wait_until("the slow queue is full", || sql.number(held) == 2);
    push(&sql, "add_numbers", 200, "[2, 3]");
    wait_for_finished(&sql, 200);
    let states =
        sql.rows("SELECT queue, state, count(*) FROM pgtq.tasks GROUP BY 1, 2 ORDER BY 1, 2");
    let expected = [
        "default|complete|200",
        "slow|runnable|8",
        "slow|running|2",
        "still|runnable|10",
    ];
    assert_eq!(states, expected);
    sql.rows("SELECT pgtq.resume(queue => 'still')");
    wait_for_finished(&sql, 210);
    drop(runner);
}
