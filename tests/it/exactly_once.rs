//! The effects of handler SQL happen exactly once.

use std::time::Duration;

use pgtq_task::{
    Attempt, ErrorKind, Failure, HandlerFuture, Limits, Outcome, Report, SqlGrant, TaskId,
};
use pgtq_tests::{Database, Fault, Proxy, Rule, Sql, plugin_dir, wait_until, wait_until_async};

use crate::native::{Engine, book, failed, insert, leaf, n_rows, registry, role};
use crate::tasks::{UNFINISHED, assert_completed_once, database, n_finished, push, runner};

/// The grants of a runner of `flaky.rows`.
fn grants(role: &str) -> String {
    format!(
        "[grants.flaky]\nsql = {{ role = '{role}', connections = 4 }}\n\
         [handlers.'flaky.rows']\ntimeout = '5m'\n"
    )
}

/// Makes every insert wait while this test holds the advisory lock 7.
const GATE: &str =
    "CREATE FUNCTION app.wait_at_the_gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         PERFORM pg_advisory_xact_lock_shared(7);
         RETURN NULL;
     END $$;
     CREATE TRIGGER gate AFTER INSERT ON app.rows FOR EACH ROW EXECUTE FUNCTION app.wait_at_the_gate()";

/// The number of waiting inserts.
const AT_THE_GATE: &str =
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Pushes waves of tasks that insert a row and push a child that inserts another. Each
/// wave is released at once, and then one of two runners is killed, at once or a few
/// outcomes later.
fn rows_under_kills(n_waves: usize, n_in_wave: usize) {
    let (database, sql) = database();
    let grants = grants(&role(&sql));
    sql.rows(GATE);
    let dir = plugin_dir(&["flaky"]);
    let start = || runner(database.url(), dir.path(), &grants, &["-c", "8"]);
    let mut runners = [start(), start()];
    for wave in 0..n_waves {
        sql.rows("SELECT pg_advisory_lock(7)");
        push(&sql, "flaky.rows", n_in_wave, "{\"then\": \"result\"}");
        wait_until("inserts wait", || sql.number(AT_THE_GATE) >= 4);
        let before = n_finished(&sql);
        sql.rows("SELECT pg_advisory_unlock(7)");
        let some_more = i64::try_from(wave % 4 * 3).expect("small");
        wait_until("some have ended", || n_finished(&sql) >= before + some_more);
        let victim = &mut runners[wave % 2];
        let pid = victim.pid();
        victim.kill();
        // Ends the lease at once, so that the test does not wait for it, and resets the
        // crash counts, because no task is the cause.
        sql.rows(&format!(
            "UPDATE pgtq.runners SET expires_at = now() - interval '1 second' WHERE pid = {pid};
             SELECT pgtq.rescue();
             UPDATE pgtq.runnable_tasks SET crashes = 0 WHERE crashes > 0"
        ));
        *victim = start();
    }
    wait_until("nothing is left", || sql.number(UNFINISHED) == 0);
    let n = 2 * n_waves * n_in_wave;
    assert_completed_once(&sql, n);
    assert_eq!(n_rows(&sql), format!("{n}|{n}"), "rows, tasks with one");
    let crashed = sql.number("SELECT count(*) FROM pgtq.attempts WHERE kind IN ('lost', 'crash')");
    eprintln!("{n_waves} runners killed; {crashed} attempts were lost");
    assert!(crashed > 0);
}

#[test]
fn a_thousand_rows_of_a_thousand_tasks_while_runners_are_killed() {
    rows_under_kills(10, 50);
}

#[test]
#[ignore = "takes a minute or two"]
fn ten_thousand_rows_of_ten_thousand_tasks_while_runners_are_killed() {
    rows_under_kills(20, 250);
}

#[test]
fn a_failed_plugin_leaves_no_row() {
    let (database, sql) = database();
    let grants = grants(&role(&sql)).replace("'5m'", "'1s'") + "fuel = 50_000_000\n";
    let dir = plugin_dir(&["flaky"]);
    let ends = ["error", "ignore", "loop", "panic", "sleep", "trap"];
    for then in ends {
        sql.rows(&format!(
            "SELECT pgtq.push('flaky.rows', '{{\"then\": \"{then}\"}}', retries => 1)"
        ));
    }
    let _runner = runner(database.url(), dir.path(), &grants, &[]);
    wait_until("all have ended", || n_finished(&sql) == 6);
    let found = sql.rows(
        "SELECT args ->> 'then', state, error_kind, error_code, attempts FROM pgtq.history ORDER BY 1",
    );
    assert_eq!(
        found,
        [
            "error|failed|error||2",
            "ignore|failed|sql|sql:22012|2",
            "loop|failed|fuel||2",
            "panic|failed|panic||2",
            "sleep|failed|timeout||2",
            "trap|failed|trap||2",
        ]
    );
    assert_eq!(n_rows(&sql), "0|0");
    wait_until("no transaction is left open", || {
        sql.number("SELECT count(*) FROM pg_stat_activity WHERE usename = current_database() || '_role' AND xact_start IS NOT NULL") == 0
    });
}

#[test]
fn without_a_grant_sql_is_denied_with_the_lines_to_add() {
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky"]);
    sql.rows("SELECT pgtq.push('flaky.rows', '{\"then\": \"leaf\"}', retries => 0)");
    let _runner = runner(database.url(), dir.path(), "", &[]);
    wait_until("it has ended", || n_finished(&sql) == 1);
    let error = sql.row("SELECT error_code || ' ' || error_message FROM pgtq.failed");
    assert!(error.starts_with("denied "), "{error}");
    assert!(
        error.contains("[grants.flaky]") && error.contains("sql = "),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_cut_before_or_after_execution_counts_once() {
    const N: usize = 30;
    let database = Database::migrated();
    let (sql, role, dir) = blocking(database.url()).await;
    let proxy = Proxy::start(dir);
    let faults = [Fault::CutBefore, Fault::CutAfter, Fault::None];
    proxy.rule(Rule::exactly("COMMIT").of(&role).faults(&faults).repeat());
    let name = sql.row("SELECT current_database()").await;
    let registry = registry(&role, &[("book", book), ("leaf", leaf)]);
    let engine = Engine::start(&proxy.url(&name), registry).await;
    sql.row(&format!(
        "SELECT count(pgtq.push('book')) FROM generate_series(1, {N})"
    ))
    .await;
    wait_until_async("all have ended", || async {
        sql.row("SELECT count(*) FROM pgtq.history").await == (2 * N).to_string()
            && sql.row(UNFINISHED).await == "0"
    })
    .await;
    let summary = engine.stop().await;
    assert_eq!(
        sql.row("SELECT count(*), count(DISTINCT task) FROM app.rows")
            .await,
        format!("{0}|{0}", 2 * N)
    );
    let ended = "SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE state = 'complete'), max(attempts) FROM pgtq.history";
    assert_eq!(sql.row(ended).await, format!("{0}|{0}|{0}|1", 2 * N));
    // One in two attempts lost its request, and was released without using an attempt.
    let released = "SELECT count(*) > 0, bool_and(kind = 'release') FROM pgtq.attempts";
    assert_eq!(sql.row(released).await, "t|t");
    assert_eq!(summary.complete, 2 * N as u64);
    assert_eq!(sql.row("SELECT count(*) FROM pgtq.claims").await, "0");
    let n_unknown = proxy.n_hits("COMMIT", Fault::CutAfter);
    assert!(n_unknown > N / 2, "{n_unknown}");
}

/// Inserts a row and then ends as its arguments say.
fn unsuccessful(attempt: Attempt, grant: SqlGrant) -> HandlerFuture {
    Box::pin(async move {
        if let Err(problem) = insert(&attempt, &grant, "unsuccessful").await {
            return failed(problem);
        }
        let failure = Failure::new(ErrorKind::Error, "as asked");
        Report::without_guest(match attempt.task.args.as_str() {
            "[\"fail\"]" => Outcome::Fail { failure },
            "[\"cancel\"]" => Outcome::Cancel {
                reason: "as asked".to_owned(),
            },
            "[\"retry\"]" => Outcome::Retry {
                failure,
                after: Some(Duration::from_millis(100)),
            },
            "[\"panic\"]" => panic!("as asked"),
            "[\"ignore\"]" => {
                let limits = Limits::default();
                let wrong = attempt.database.sql(&grant, &limits, "SELECT 1 / 0", "[]");
                assert!(wrong.await.is_err());
                Outcome::Complete {
                    result: "true".to_owned(),
                }
            }
            _ => {
                // Until it is cancelled.
                attempt.signal.stopped().await;
                Outcome::Release
            }
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsuccessful_attempt_leaves_no_row() {
    let database = Database::migrated();
    let (sql, role, _) = blocking(database.url()).await;
    let registry = registry(&role, &[("unsuccessful", unsuccessful)]);
    let engine = Engine::start(database.url(), registry).await;
    for args in ["fail", "cancel", "retry", "panic", "ignore", "wait"] {
        sql.row(&format!(
            "SELECT pgtq.push('unsuccessful', '[\"{args}\"]', retries => 1)"
        ))
        .await;
    }
    let waiting = "SELECT id FROM pgtq.running WHERE args::text = '[\"wait\"]'";
    wait_until_async("the one that waits is running", || async {
        !sql.row(waiting).await.is_empty()
    })
    .await;
    let id: i64 = sql.row(waiting).await.parse().expect("an id");
    let store = database.store().await;
    store.cancel(&[TaskId(id)]).await.expect("cancel");
    wait_until_async("all have ended", || async {
        sql.row("SELECT count(*) FROM pgtq.history").await == "6"
    })
    .await;
    engine.stop().await;
    let ends = "SELECT string_agg(concat_ws(' ', args::json ->> 0, state, error_kind, error_code, attempts), E'\\n' ORDER BY args::text) FROM pgtq.history";
    assert_eq!(
        sql.row(ends).await,
        "cancel cancelled 1\nfail failed error 1\nignore failed sql sql:22012 2\npanic failed internal 2\nretry failed error 2\nwait cancelled 1"
    );
    assert_eq!(sql.row("SELECT count(*) FROM app.rows").await, "0");
    assert_eq!(sql.row("SELECT count(*) FROM pgtq.claims").await, "0");
}

/// A connection, a new role, and the directory of the server's socket.
pub(crate) async fn blocking(url: &str) -> (Client, String, String) {
    let url = url.to_owned();
    let created = tokio::task::spawn_blocking({
        let url = url.clone();
        move || {
            let sql = Sql::connect(&url);
            let dir = sql.row("SELECT current_setting('unix_socket_directories')");
            (role(&sql), dir)
        }
    });
    let (role, dir) = created.await.expect("a role is created");
    (Client::connect(&url).await, role, dir)
}

/// An async SQL client.
pub(crate) struct Client(tokio_postgres::Client);

impl Client {
    async fn connect(url: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
            .await
            .expect("the private server accepts connections");
        tokio::spawn(connection);
        Client(client)
    }

    /// The first row; empty if there is none.
    pub(crate) async fn row(&self, statement: &str) -> String {
        let result = self.0.simple_query(statement).await.expect(statement);
        let row = result.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        row.map_or(String::new(), |row| {
            let cells: Vec<&str> = (0..row.len()).map(|i| row.get(i).unwrap_or("")).collect();
            cells.join("|")
        })
    }
}
