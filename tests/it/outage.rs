//! Crashes and restarts of Postgres, with a durable server.

use pgtq_setup::postgres::{PrivatePostgres, ServerOptions};
use pgtq_tests::{Sql, cli, plugin_dir, wait_until};

use crate::tasks::{assert_completed_once, n_finished, push, runner, wait_for_finished};

/// Crashes the server: no checkpoint, connections are cut.
fn crash(server: PrivatePostgres) {
    let pid = server.pid().expect("this test started it");
    let pid = i32::try_from(pid).expect("process ids fit");
    // SAFETY: kill takes two integers, and the server is not reaped yet.
    unsafe { libc::kill(pid, libc::SIGQUIT) };
    // Waits for its exit.
    drop(server);
}

#[test]
fn tasks_survive_two_crashes_of_postgres() {
    const N: usize = 2_000;
    let data = tempfile::Builder::new()
        .prefix("pgtq-test-outage-")
        .tempdir()
        .expect("a temporary directory is created");
    let start = || {
        let options = ServerOptions::keep(data.path());
        PrivatePostgres::start(&options, &|line| eprintln!("{line}"))
            .unwrap_or_else(|error| panic!("{error}"))
    };
    let mut server = start();
    let url = server.url();
    cli(&url, &["migrate"], "").success();
    let dir = plugin_dir(&["hello"]);
    let mut sql = Sql::connect(&url);
    push(&sql, "add_numbers", N, "[2, 3]");
    let mut runner = runner(&url, dir.path(), "", &[]);
    for part in [300, 1_000] {
        wait_until("some tasks have ended", || n_finished(&sql) >= part);
        crash(server);
        server = start();
        sql = Sql::connect(&url);
        eprintln!("{} had ended when postgres was back", n_finished(&sql));
    }
    wait_for_finished(&sql, N);
    assert_completed_once(&sql, N);
    let worst = sql.row("SELECT max(attempts), max(crashes) FROM pgtq.history");
    assert_eq!(worst, "1|0", "attempts and crashes");
    // Notifications work again, and the runner drains.
    push(&sql, "add_numbers", 10, "[2, 3]");
    wait_for_finished(&sql, N + 10);
    runner.terminate();
    assert_eq!(runner.wait().code(), Some(0));
    let others = sql.rows("SELECT kind, count(*) FROM pgtq.attempts GROUP BY 1");
    eprintln!("attempts besides: {others:?}");
    drop(sql);
    drop(server);
}
