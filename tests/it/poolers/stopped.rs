//! Cancellation of handler statements behind PgBouncer, which forwards a cancel request only
//! while the client of the statement is connected.

use std::time::Duration;

use pgtq_task::{Attempt, ErrorKind, Failure, HandlerFuture, Limits, Outcome, Report, SqlGrant};
use pgtq_tests::{cli, wait_until};
use tokio::runtime::Runtime;

use super::Fixture;
use super::tls::TlsFixture;
use crate::native::{Engine, grant, registry_of};
use crate::tasks::push;

const SLEEPING: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND wait_event = 'PgSleep'";

/// Sleeps in the database for longer than any test, up to these limits.
async fn sleep(attempt: &Attempt, grant: &SqlGrant, timeout: Duration) -> Report {
    let limits = Limits {
        timeout,
        ..Limits::default()
    };
    let sleeping = attempt
        .database
        .sql(grant, &limits, "SELECT pg_sleep(3600)", "[]");
    tokio::select! {
        answer = sleeping => match answer {
            Ok(answer) => panic!("{answer}"),
            Err(problem) => Report::without_guest(Outcome::Fail {
                failure: Failure::new(ErrorKind::Error, problem.message),
            }),
        },
        _ = attempt.signal.stopped() => Report::without_guest(Outcome::Cancel {
            reason: "the task is cancelled".to_owned(),
        }),
    }
}

fn until_its_deadline(attempt: Attempt, grant: SqlGrant) -> HandlerFuture {
    Box::pin(async move { sleep(&attempt, &grant, Duration::from_millis(500)).await })
}

fn until_cancelled(attempt: Attempt, grant: SqlGrant) -> HandlerFuture {
    Box::pin(async move { sleep(&attempt, &grant, Duration::from_secs(3600)).await })
}

#[test]
fn a_cancelled_statement_behind_a_pooler_stops_on_the_server() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    statements_stop_on_the_server(&fixture, &fixture.url());
}

#[test]
fn a_cancelled_statement_behind_a_pooler_with_tls_stops_on_the_server() {
    let Some(fixture) = TlsFixture::new() else {
        return;
    };
    let url = fixture.url_knowing(&fixture.authority, "localhost", "verify-full");
    statements_stop_on_the_server(&fixture.fixture, &url);
}

fn statements_stop_on_the_server(fixture: &Fixture, url: &str) {
    let runtime = Runtime::new().expect("a runtime starts");
    let grant = SqlGrant {
        statement_timeout: Duration::from_secs(3600),
        ..grant(&fixture.role)
    };
    let handlers = registry_of(
        &grant,
        &[
            ("deadline", until_its_deadline),
            ("cancelled", until_cancelled),
        ],
    );
    let sql = &fixture.sql;
    push(sql, "cancelled", 1, "{}");
    push(sql, "deadline", 3, "{}");
    let engine = runtime.block_on(Engine::start(url, handlers));
    wait_until("the deadlines have passed", || {
        sql.number("SELECT count(*) FROM pgtq.history WHERE handler = 'deadline'") == 3
    });
    wait_until("only the other statement sleeps", || {
        sql.number(SLEEPING) == 1
    });
    sql.rows("SELECT pgtq.cancel(id) FROM pgtq.tasks WHERE state = 'running'");
    wait_until("no statement sleeps", || sql.number(SLEEPING) == 0);
    let summary = runtime.block_on(engine.stop());
    assert_eq!(summary.complete, 0);
    let ended =
        sql.rows("SELECT handler, state, count(*) FROM pgtq.history GROUP BY 1, 2 ORDER BY 1");
    assert_eq!(ended, ["cancelled|cancelled|1", "deadline|failed|3"]);
    // The pooler still works.
    cli(url, &["tasks"], "").success();
}
