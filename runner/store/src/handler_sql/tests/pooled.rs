//! The connections that handlers share.

use std::time::{Duration, Instant};

use crate::connect::config::DatabaseConfig;
use crate::connect::connection::Store;
use crate::handler_sql::tests::fixture::*;
use crate::handler_sql::work::Commit;
use crate::testdb::{TestRunner, new_task};
use pgtq_task::Database as _;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_handlers_share_two_connections_and_all_end() {
    let fixture = Fixture::new().await;
    let tasks = vec![new_task("a"); 50];
    fixture.store.push(&tasks).await.expect("push");
    let mut runner = TestRunner::new(&fixture.store, &["a"]).await;
    let mut running = tokio::task::JoinSet::new();
    for (n, ending) in runner.claim(50).await.into_iter().enumerate() {
        let database = runner
            .store
            .attempt(runner.id, ending.claim, ending.task.id);
        let (grant, limits) = (fixture.grant.clone(), fixture.limits.clone());
        running.spawn(async move {
            let insert = format!("INSERT INTO rows SELECT {n} FROM pg_sleep(0.01)");
            database
                .sql(&grant, &limits, &insert, "[]")
                .await
                .expect("runs");
            matches!(database.complete(&ending).await, Commit::Recorded)
        });
    }
    let mut most = 0;
    while !running.is_empty() {
        let n: usize = fixture
            .ask(&fixture.connections())
            .await
            .parse()
            .expect("a count");
        most = most.max(n);
        while let Some(done) = running.try_join_next() {
            assert!(done.expect("no panic"));
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(fixture.n_rows().await, "50");
    assert!(most <= 2, "{most} connections at once");
}

#[tokio::test]
async fn waiting_for_a_connection_ends_with_the_attempts_time() {
    let mut fixture = Fixture::new().await;
    fixture.grant.connections = 1;
    fixture.run("SELECT 1").await.expect("takes the only one");
    fixture.limits.timeout = Duration::from_millis(200);
    let second = fixture.runner.store.attempt(
        fixture.runner.id,
        fixture.ending.claim,
        fixture.ending.task.id,
    );
    let began = Instant::now();
    let problem = second
        .sql(&fixture.grant, &fixture.limits, "SELECT 1", "[]")
        .await
        .expect_err("no free connection");
    assert_eq!(problem.code, "timeout");
    assert!(problem.message.contains("`connections`"), "{problem:?}");
    assert!(began.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn a_dead_idle_connection_is_replaced_transparently() {
    let mut fixture = Fixture::new().await;
    fixture.run("SELECT 1").await.expect("runs");
    fixture.database.roll_back().await;
    fixture
        .wait(
            &format!("{} AND state = 'idle'", fixture.connections()),
            "1",
        )
        .await;
    let kill = fixture
        .connections()
        .replace("count(*)", "count(pg_terminate_backend(pid))");
    fixture.ask(&kill).await;
    fixture.again();
    fixture.run("SELECT 1").await.expect("a new connection");
}

#[tokio::test]
async fn sql_works_behind_a_pooler_in_transaction_mode() {
    let mut config: DatabaseConfig = crate::testdb::config();
    config.poll_only = true;
    let store = Store::connect(config).await.expect("connect");
    store.migrate().await.expect("migrate");
    let mut fixture = Fixture::on(store).await;
    fixture
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    fixture
        .database
        .checkpoint(&fixture.limits, "1")
        .await
        .expect("a checkpoint");
    fixture
        .run("INSERT INTO rows VALUES (2)")
        .await
        .expect("runs");
    let commit = fixture.database.complete(&fixture.ending).await;
    assert!(matches!(commit, Commit::Recorded), "{commit:?}");
    assert_eq!(fixture.n_rows().await, "2");
    // One connection for each transaction, and none is kept.
    fixture.wait(&fixture.connections(), "0").await;
    fixture.again();
}
