//! A program from before the last migration and this one, on one database that is migrated
//! under load. Run by hand, because it needs the other program:
//!
//! ```text
//! added=$(git log -1 --diff-filter=A --format=%h -- 'migrations/0*')
//! git worktree add ../before "$added^"
//! (cd ../before && cargo build)
//! PGTQ_BEFORE=$PWD/../before/target/debug/pgtq cargo test -p pgtq-tests --test it older -- --ignored --nocapture
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use pgtq_tests::{
    Database, Runner, RunnerOptions, Sql, cli, cli_of, other_program, plugin_dir, program,
    wait_until,
};

use crate::tasks::{assert_completed_once, n_finished, wait_for_finished};

/// The number of tasks that must finish in each phase.
const ENOUGH: i64 = 300;
/// The number of tasks per push.
const BATCH: usize = 20;
/// Pushers wait while this many tasks wait.
const WAITING: i64 = 400;
/// The exit code for a schema that does not serve the program.
const SCHEMA: i32 = 5;

/// The record of a pusher.
#[derive(Debug, Default)]
struct Pushed {
    n_tasks: usize,
    /// Rejected because the schema is older than the program.
    n_early: usize,
    errors: Vec<String>,
}

/// Pushes a batch: all tasks, or an error.
type Push = Box<dyn FnMut(&[String]) -> Result<(), (Option<i32>, String)> + Send>;

struct Pushers {
    enough: Arc<AtomicBool>,
    threads: Vec<JoinHandle<(&'static str, Pushed)>>,
}

impl Pushers {
    fn start(url: &str, before: &Path) -> Self {
        let mut pushers = Pushers {
            enough: Arc::default(),
            threads: Vec::new(),
        };
        let (file, sql) = (before.to_owned(), Sql::connect(url));
        pushers.add(url, "older", by_program(url, move || other_program(&file)));
        pushers.add(url, "newer", by_program(url, program));
        pushers.add(url, "sql", by_sql(sql));
        pushers
    }

    fn add(&mut self, url: &str, name: &'static str, mut push: Push) {
        let (enough, sql) = (Arc::clone(&self.enough), Sql::connect(url));
        self.threads.push(thread::spawn(move || {
            let mut pushed = Pushed::default();
            for batch in 0.. {
                if enough.load(Ordering::Relaxed) {
                    break;
                }
                let tasks: Vec<String> = (0..BATCH).map(|n| task(name, batch, n)).collect();
                // Retried until it is accepted, which is safe because of the keys.
                while let Err((code, error)) = push(&tasks) {
                    match code {
                        Some(SCHEMA) if error.contains("pgtq migrate") => pushed.n_early += 1,
                        _ => pushed.errors.push(error),
                    }
                }
                pushed.n_tasks += BATCH;
                let waiting = "SELECT count(*) FROM pgtq.runnable_tasks";
                wait_until("there is room for more", || {
                    enough.load(Ordering::Relaxed) || sql.number(waiting) < WAITING
                });
            }
            (name, pushed)
        }));
    }

    fn stop(self) -> Vec<(&'static str, Pushed)> {
        self.enough.store(true, Ordering::Relaxed);
        let threads = self.threads.into_iter();
        threads
            .map(|thread| thread.join().expect("a pusher ends"))
            .collect()
    }
}

/// A task as JSON: fast, slow, delayed, or failing once.
fn task(name: &str, batch: usize, n: usize) -> String {
    let rest = match n % 4 {
        0 => r#""handler": "add_numbers", "args": [2, 3]"#,
        1 => r#""handler": "flaky.talk", "args": [1, 20, 1]"#,
        2 => r#""handler": "add_numbers", "args": [2, 3], "delay": "1s""#,
        _ => r#""handler": "flaky.talk", "args": [1, 1, 2]"#,
    };
    format!(r#"{{{rest}, "key": "{name}-{batch}-{n}"}}"#)
}

fn by_program(url: &str, program: impl Fn() -> Command + Send + 'static) -> Push {
    let url = url.to_owned();
    Box::new(move |tasks| {
        let push = ["push", "--batch", "-", "--allow-unknown"];
        let pushed = cli_of(program(), &url, &push, &tasks.join("\n"));
        let n_ids = pushed.stdout.lines().count();
        match pushed.code {
            Some(0) if n_ids == tasks.len() => Ok(()),
            code => Err((code, pushed.stderr)),
        }
    })
}

fn by_sql(sql: Sql) -> Push {
    Box::new(move |tasks| {
        let list = format!("[{}]", tasks.join(", "));
        let ids = sql.try_rows(&format!("SELECT pgtq.push_many('{list}')"));
        match ids {
            Ok(ids) if ids.len() == tasks.len() => Ok(()),
            other => Err((None, format!("{other:?}"))),
        }
    })
}

/// Waits until more tasks are finished.
#[track_caller]
fn wait_for_more(sql: &Sql) {
    let before = n_finished(sql);
    wait_until("more tasks are finished", || {
        n_finished(sql) >= before + ENOUGH
    });
}

#[test]
#[ignore = "needs a program of before the last migration: PGTQ_BEFORE=FILE"]
fn an_older_program_continues_during_an_upgrade_to_a_newer_one() {
    let before = std::env::var_os("PGTQ_BEFORE").expect("PGTQ_BEFORE names the older program");
    let before = PathBuf::from(before);
    let database = Database::empty();
    let (url, sql) = (database.url(), Sql::connect(database.url()));
    cli_of(other_program(&before), url, &["migrate"], "").success();
    let version = || sql.number("SELECT max(version) FROM pgtq.migrations");
    let old_version = version();
    let plugins = plugin_dir(&["hello", "flaky"]);
    let options = RunnerOptions::default();
    let mut older = Runner::start_as(other_program(&before), url, plugins.path(), &options);
    for name in ["hello", "flaky"] {
        older.wait_for(&format!("plugin {name}.wasm: live"));
    }
    let pushers = Pushers::start(url, &before);
    wait_for_more(&sql);

    let (began, ended) = (Instant::now(), n_finished(&sql));
    cli(url, &["migrate"], "").success();
    let (took, meanwhile) = (began.elapsed(), n_finished(&sql) - ended);
    assert!(version() > old_version, "there was something to migrate");
    wait_for_more(&sql);
    let alone = n_finished(&sql);
    let mut newer = Runner::start(url, plugins.path(), &options);
    newer.wait_for("running");
    wait_until("both work", || {
        sql.number("SELECT count(DISTINCT runner_id) FROM pgtq.claims") == 2
    });
    wait_for_more(&sql);
    older.terminate();
    assert_eq!(older.wait().code(), Some(0), "{}", older.stderr());
    wait_for_more(&sql);

    let pushed = pushers.stop();
    let n_tasks = pushed.iter().map(|(_, one)| one.n_tasks).sum();
    wait_for_finished(&sql, n_tasks);
    newer.terminate();
    assert_eq!(newer.wait().code(), Some(0), "{}", newer.stderr());
    eprintln!(
        "schema {old_version} to {} in {:.2} s, {meanwhile} tasks ended meanwhile, {alone} before the newer runner; {n_tasks} tasks in all",
        version(),
        took.as_secs_f64(),
    );
    for (name, pushed) in &pushed {
        eprintln!("{name}: {pushed:?}");
    }
    for (name, runner) in [("older", &older), ("newer", &newer)] {
        let log = runner.stderr();
        let last = log.lines().rfind(|line| line.contains(" complete, "));
        eprintln!("{name} runner: {}", last.unwrap_or("no summary"));
        assert!(!log.contains("ERROR"), "{log}");
    }
    assert_completed_once(&sql, n_tasks);
    let keys = sql.number("SELECT count(DISTINCT key) FROM pgtq.history");
    assert_eq!(
        keys,
        i64::try_from(n_tasks).expect("few"),
        "each push, once"
    );
    assert_eq!(sql.number("SELECT max(crashes) FROM pgtq.history"), 0);
    for (name, pushed) in pushed {
        assert!(pushed.errors.is_empty(), "{name}: {pushed:?}");
        assert!(
            pushed.n_tasks > 0 && (name == "newer" || pushed.n_early == 0),
            "{name}"
        );
    }
}
