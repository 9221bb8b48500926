//! A Postgres that dies in the middle and comes back: durable, unlike the other tests' one.

use pgtq_setup::postgres::{Options, PrivatePostgres};
use pgtq_tests::{Sql, cli, plugin_dir, wait_until};

use crate::tasks::{assert_completed_once, n_ended, push, runner, wait_for_ended};

/// Ends as by a crash: no checkpoint, connections cut.
fn crash(server: PrivatePostgres) {
    let pid = server.pid().expect("this test started it");
    let pid = i32::try_from(pid).expect("process ids are small");
    // SAFETY: kill takes two numbers, and `server` has not been waited for.
    unsafe { libc::kill(pid, libc::SIGQUIT) };
    // Waits for its end.
    drop(server);
}

#[test]
fn tasks_survive_a_postgres_that_crashes_twice_in_the_middle() {
    const N: usize = 2_000;
    let data = tempfile::Builder::new()
        .prefix("pgtq-test-outage-")
        .tempdir()
        .expect("a temporary directory is made");
    let start = || {
        let options = Options::keep(data.path());
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
        wait_until("some tasks have ended", || n_ended(&sql) >= part);
        crash(server);
        server = start();
        sql = Sql::connect(&url);
        eprintln!("{} had ended when postgres was back", n_ended(&sql));
    }
    wait_for_ended(&sql, N);
    assert_completed_once(&sql, N);
    let worst = sql.row("SELECT max(attempts), max(crashes) FROM pgtq.history");
    assert_eq!(worst, "1|0", "attempts and crashes");
    // Pushes are heard, and the runner ends as it should.
    push(&sql, "add_numbers", 10, "[2, 3]");
    wait_for_ended(&sql, N + 10);
    runner.terminate();
    assert_eq!(runner.wait().code(), Some(0));
    let others = sql.rows("SELECT kind, count(*) FROM pgtq.attempts GROUP BY 1");
    eprintln!("attempts besides: {others:?}");
    drop(sql);
    drop(server);
}
