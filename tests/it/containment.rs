//! Abuse cases: each handler gets its own error, and the runner continues and releases
//! the memory. Isolation of the memory of guests is tested in `runner/sandbox/src/tests`.

use std::fs;

use pgtq_tests::{Runner, cli, plugin_dir, wait_until};

use crate::tasks::{UNFINISHED, database, push, runner, wait_for_finished};

/// Enough for every handler except the endless loop, which would take a minute for the
/// default in a development build.
const LITTLE_FUEL: &str =
    "[handlers.'flaky.loop']\nfuel = '20M'\n[handlers.'flaky.sleep']\ntimeout = '50ms'";

/// Handlers, their arguments, the error kind and a part of the message.
const ENDS: &[(&str, &str, &str, &str)] = &[
    (
        "loop",
        "{}",
        "fuel",
        "used up its fuel of 20,000,000; if the work is that large, raise `fuel` in #[handler(...)], up to the cap that `pgtq inspect` shows, or in pgtq.toml",
    ),
    (
        "memory",
        "{}",
        "memory",
        "exceeded its 64 MiB of memory; work on less at a time, or raise `memory` in #[handler(...)], up to the cap that `pgtq inspect` shows, or in pgtq.toml",
    ),
    (
        "recursion",
        "{}",
        "stack",
        "used up the stack in its memory: endless or very deep recursion",
    ),
    (
        "huge_result",
        "{}",
        "result_size",
        "returned more than 4 MiB, the limit is 1 MiB; store large results elsewhere and return a reference",
    ),
    (
        "logs",
        "{}",
        "logs",
        "logged more than ten times its limit of 1,000 lines; log less, or raise `limits.log_lines`",
    ),
    (
        "huge_error",
        "{}",
        "result_size",
        "returned more than 4 MiB, the limit is 1 MiB; store large results elsewhere and return a reference",
    ),
    (
        "huge_line",
        "{}",
        "call_size",
        "passed more than 4 MiB to the host in one call; send less at a time, or raise `limits.call_bytes`",
    ),
    (
        "pushes",
        "{}",
        "error",
        "push of `flaky.until`: this attempt has pushed 1000 tasks already, which is its limit; push one task that pushes the rest, or raise `limits.pushes`",
    ),
    (
        "sleep",
        "{}",
        "timeout",
        "ran longer than its 50ms; if the work takes that long, raise `timeout` in #[handler(...)], up to the cap that `pgtq inspect` shows, or in pgtq.toml",
    ),
    (
        "exit",
        "{}",
        "exit",
        "called exit, for failure; return a value or an error instead",
    ),
    (
        "trap",
        "{}",
        "trap",
        "aborted: the guest executed `unreachable`",
    ),
    ("panic", r#"["no floor"]"#, "panic", "no floor, at "),
    (
        "divide",
        "[1, 0]",
        "panic",
        "attempt to divide by zero, at ",
    ),
];

/// The number of handlers at the start of [`ENDS`] that use many resources.
const GREEDY: usize = 5;

/// The allowed growth of the resident memory, in bytes: for caches of the C library, far
/// less than one greedy attempt.
const SLACK: u64 = 64 << 20;

/// The resident memory in bytes.
fn resident(runner: &Runner) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", runner.pid()))
        .expect("a live process has a status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    1024 * kib
        .and_then(|kib| kib.parse::<u64>().ok())
        .expect("it is a number")
}

/// The numbers of open files and threads.
fn handles(runner: &Runner) -> [usize; 2] {
    ["fd", "task"].map(|what| {
        let entries = fs::read_dir(format!("/proc/{}/{what}", runner.pid()));
        entries.expect("a live process lists them").count()
    })
}

fn add_numbers(url: &str) -> String {
    cli(url, &["push", "add_numbers", "a=2", "b=3", "--wait"], "").success()
}

#[test]
fn each_abuse_case_has_its_own_error_and_the_runner_survives() {
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky", "hello"]);
    let runner = runner(database.url(), dir.path(), LITTLE_FUEL, &[]);
    for (handler, args, ..) in ENDS {
        push(&sql, &format!("flaky.{handler}"), 1, args);
    }
    wait_for_finished(&sql, ENDS.len());
    for (handler, _, kind, words) in ENDS {
        let found = sql.row(&format!(
            "SELECT state, attempts, error_kind, error_message FROM pgtq.history
             WHERE handler = 'flaky.{handler}'"
        ));
        let expected = format!("failed|1|{kind}|{words}");
        match words.ends_with(", at ") {
            // Without the location in the source.
            true => assert!(found.starts_with(&expected), "{handler}: {found}"),
            false => assert_eq!(found, expected, "{handler}"),
        }
    }
    // The usage of failed attempts is recorded, and their pushes have no effect.
    let unused = "SELECT handler FROM pgtq.history WHERE coalesce(fuel, 0) = 0 OR wall_us IS NULL";
    assert_eq!(sql.rows(unused), [""; 0]);
    assert_eq!(sql.number(UNFINISHED), 0);
    assert_eq!(add_numbers(database.url()), "5");
    assert!(!runner.stderr().contains("panicked"), "{}", runner.stderr());
}

#[test]
fn a_runner_releases_the_memory_of_its_guests() {
    const EACH: usize = 50;
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky", "hello"]);
    let runner = runner(database.url(), dir.path(), LITTLE_FUEL, &["-c", "4"]);
    let mut n_tasks = 0;
    let mut run_each = |times| {
        for (handler, args, ..) in &ENDS[..GREEDY] {
            push(&sql, &format!("flaky.{handler}"), times, args);
            n_tasks += times;
        }
        wait_for_finished(&sql, n_tasks);
    };
    // Warm-up.
    run_each(1);
    let mut before = resident(&runner);
    wait_until("the memory of the warm-up is released", || {
        before = resident(&runner);
        before < 160 << 20
    });
    run_each(EACH);
    let mut after = resident(&runner);
    wait_until("the memory is released", || {
        after = resident(&runner);
        after < before + SLACK
    });
    let mib = |bytes| bytes >> 20;
    eprintln!(
        "resident before {} MiB, after {EACH} of each {} MiB",
        mib(before),
        mib(after)
    );
    assert_eq!(add_numbers(database.url()), "5");
}

#[test]
fn a_thousand_traps_leak_nothing() {
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky", "hello"]);
    let runner = runner(database.url(), dir.path(), LITTLE_FUEL, &[]);
    let trap = |n| push(&sql, "flaky.trap", n, "{}");
    trap(200);
    wait_for_finished(&sql, 200);
    let (memory, before) = (resident(&runner), handles(&runner));
    trap(1_000);
    wait_for_finished(&sql, 1_200);
    wait_until("the memory is released", || {
        resident(&runner) < memory + SLACK / 2
    });
    let after = handles(&runner);
    eprintln!(
        "resident {} then {} KiB; files and threads {before:?} then {after:?}",
        memory >> 10,
        resident(&runner) >> 10
    );
    // The numbers of connections and helper threads vary, but not by a thousand.
    assert!(
        after
            .iter()
            .zip(before)
            .all(|(after, before)| *after < before + 32)
    );
    let kinds = sql.rows("SELECT DISTINCT error_kind, attempts FROM pgtq.history");
    assert_eq!(kinds, ["trap|1"]);
    assert_eq!(add_numbers(database.url()), "5");
}
