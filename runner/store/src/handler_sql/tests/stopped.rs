//! Statements that are cancelled: by their deadline, or because the attempt is dropped.

use std::sync::Arc;

use crate::handler_sql::database::AttemptDatabase;
use crate::handler_sql::tests::fixture::*;
use pgtq_task::Database as _;

/// The role's connections as a later attempt sees them, including its own.
const SEEN: &str = "SELECT count(*) FROM pg_stat_activity WHERE usename = current_user";

/// A fixture whose grant has one connection, with a function `slow` of this body.
async fn fixture(body: &str) -> Fixture {
    let mut fixture = Fixture::new().await;
    fixture.grant.connections = 1;
    let slow = format!(
        "CREATE FUNCTION {0}.slow() RETURNS void LANGUAGE plpgsql AS $$ {body} $$;
         GRANT EXECUTE ON FUNCTION {0}.slow() TO PUBLIC",
        fixture.theirs
    );
    fixture.sql.batch_execute(&slow).await.expect("a function");
    fixture
}

fn another(fixture: &Fixture) -> Arc<AttemptDatabase> {
    let runner = &fixture.runner;
    runner
        .store
        .attempt(runner.id, fixture.ending.claim, fixture.ending.task.id)
}

/// Starts a statement and drops it while the server runs it.
async fn cut_short(fixture: &Fixture) {
    let asleep = format!("{} AND wait_event = 'PgSleep'", fixture.connections());
    let running = fixture.run("SELECT slow()");
    tokio::select! {
        answer = running => panic!("{answer:?}"),
        () = fixture.wait(&asleep, "1") => {}
    }
}

#[tokio::test]
async fn a_statement_keeps_its_permit_until_it_has_ended() {
    // It traps the first cancel request and waits for a lock of this test, until the second
    // request.
    let fixture = fixture(
        "BEGIN PERFORM pg_sleep(600);
         EXCEPTION WHEN query_canceled THEN PERFORM pg_advisory_xact_lock(4711); END",
    )
    .await;
    fixture.ask("SELECT pg_advisory_lock(4711)").await;
    cut_short(&fixture).await;
    let seen = another(&fixture)
        .sql(&fixture.grant, &fixture.limits, SEEN, "[]")
        .await;
    let seen = seen.expect("the permit is released");
    assert!(seen.contains("[[1]]"), "{seen}");
}

#[tokio::test]
async fn an_unstoppable_statement_keeps_its_permit_for_a_limited_time() {
    let fixture = fixture(
        "BEGIN LOOP BEGIN PERFORM pg_sleep(600);
         EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END",
    )
    .await;
    cut_short(&fixture).await;
    let seen = another(&fixture)
        .sql(&fixture.grant, &fixture.limits, SEEN, "[]")
        .await;
    let seen = seen.expect("the permit is released");
    assert!(seen.contains("[[2]]"), "{seen}");
    let kill = fixture
        .connections()
        .replace("count(*)", "count(pg_terminate_backend(pid))");
    fixture.ask(&kill).await;
}
