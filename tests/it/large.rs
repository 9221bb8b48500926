//! Arguments of a megabyte, in many slots.

use pgtq_tests::{Runner, RunnerOptions, Sql, plugin_dir, wait_until};

use crate::tasks::{assert_completed_once, database, wait_for_finished};

/// The peak memory of a process, in MiB.
fn peak_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number")
        / 1024
}

/// Pushes tasks whose arguments are a string of this many bytes.
fn push_large(sql: &Sql, n: usize, n_bytes: usize) {
    sql.rows(&format!(
        "SELECT count(pgtq.push('greet', json_build_object('name', left(repeat(md5(n::text), {}), {n_bytes}))::text))
         FROM generate_series(1, {n}) AS n",
        n_bytes / 32 + 1
    ));
}

#[cfg(target_os = "linux")]
#[test]
fn large_arguments_in_many_slots_take_bounded_memory() {
    const N: usize = 200;
    let (database, sql) = database();
    let plugins = plugin_dir(&["hello"]);
    // Many small tasks first, so that claims grow.
    sql.rows(r#"SELECT count(pgtq.push('greet', '{"name": "a"}')) FROM generate_series(1, 3000)"#);
    push_large(&sql, N, 1_000_000);
    let options = RunnerOptions {
        arguments: vec!["--concurrency".to_owned(), "256".to_owned()],
        env: Vec::new(),
    };
    let mut runner = Runner::start(database.url(), plugins.path(), &options);
    wait_for_finished(&sql, N + 3_000);
    assert_completed_once(&sql, N + 3_000);
    let peak = peak_mib(runner.pid());
    eprintln!("at most {peak} MiB");
    assert!(peak < 900, "{peak} MiB");
    wait_until("it holds nothing", || {
        sql.number("SELECT count(*) FROM pgtq.running") == 0
    });
    runner.terminate();
    runner.wait();
}
