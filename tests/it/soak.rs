//! Many tasks through one runner: the memory of the runner and the sizes of the queue's
//! tables stay constant. The long version is run by hand:
//!
//! ```text
//! PGTQ_SOAK_TASKS=1000000 cargo test -p pgtq-tests --test it soak -- --nocapture
//! ```

use pgtq_tests::{Database, Sql, plugin_dir};

use crate::tasks::{UNFINISHED, assert_completed_once, push, runner, wait_for_finished};

/// The number of waves of tasks. The first half is the warm-up.
const WAVES: usize = 20;
/// The allowed growth over the maximum of the warm-up: pages of the allocator and of
/// indexes.
const SLACK_KIB: i64 = 16 << 10;

/// One measurement: sizes in KiB, and counts.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Held {
    runner_kib: i64,
    files: i64,
    threads: i64,
    hot_tables_kib: i64,
}

impl Held {
    fn now(pid: u32, sql: &Sql) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            let number = line.and_then(|line| line.split_whitespace().nth(1));
            number.and_then(|text| text.parse().ok()).expect("a number")
        };
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
        Held {
            runner_kib: field("VmRSS:"),
            files: i64::try_from(files.count()).expect("few"),
            threads: field("Threads:"),
            hot_tables_kib: sql.number(
                "SELECT (sum(pg_total_relation_size(c.oid)) / 1024)::bigint FROM pg_class AS c
                 WHERE c.relnamespace = 'pgtq'::regnamespace
                   AND c.relname IN ('runnable_tasks', 'scheduled_tasks', 'claims', 'runners', 'keys', 'log_lines')",
            ),
        }
    }

    /// The maximum of each value.
    fn most(all: &[Held]) -> Self {
        let most = |of: fn(&Held) -> i64| all.iter().map(of).max().expect("some waves");
        Held {
            runner_kib: most(|held| held.runner_kib),
            files: most(|held| held.files),
            threads: most(|held| held.threads),
            hot_tables_kib: most(|held| held.hot_tables_kib),
        }
    }
}

fn n_tasks() -> usize {
    std::env::var("PGTQ_SOAK_TASKS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20_000)
}

#[test]
fn memory_and_table_sizes_of_a_runner_stay_constant() {
    let database = Database::migrated();
    let sql = Sql::connect(database.url());
    let dir = plugin_dir(&["hello"]);
    let mut runner = runner(database.url(), dir.path(), "", &[]);
    let in_wave = (n_tasks() / WAVES).max(1);
    let mut held = Vec::new();
    for wave in 1..=WAVES {
        push(&sql, "add_numbers", in_wave, "[2, 3]");
        wait_for_finished(&sql, wave * in_wave);
        held.push(Held::now(runner.pid(), &sql));
        eprintln!("{:>8} tasks: {:?}", wave * in_wave, held[wave - 1]);
    }
    assert_completed_once(&sql, WAVES * in_wave);
    let (warm, late) = held.split_at(WAVES / 2);
    let (warm, late) = (Held::most(warm), Held::most(late));
    eprintln!("warm: {warm:?}\nlate: {late:?}");
    assert!(late.runner_kib <= warm.runner_kib + SLACK_KIB);
    assert!(late.files <= warm.files + 4);
    assert!(late.threads <= warm.threads + 4);
    // Dead rows wait for vacuum, so one wave may add its own size, but not all waves.
    assert!(late.hot_tables_kib <= 2 * warm.hot_tables_kib + SLACK_KIB);
    runner.terminate();
    assert_eq!(runner.wait().code(), Some(0));
    assert_eq!(sql.number(UNFINISHED), 0);
    assert_eq!(sql.number("SELECT count(*) FROM pgtq.claims"), 0);
}
