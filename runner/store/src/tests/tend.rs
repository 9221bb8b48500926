//! What tend does after an outage, alongside sessions that stay in their transaction, and when
//! it has much to move.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::testdb::*;

const TEND: &str = "SELECT expired FROM tend()";

/// A session that has called tend, and holds a task without retries whose lease has expired.
async fn with_an_expired_lease() -> (crate::connect::connection::Store, Client) {
    let store = store().await;
    let client = psql(&store).await;
    ask(&client, TEND).await;
    let pop = "SELECT push('a', retries => 0); SELECT pop(lease => '1 microsecond')";
    client.batch_execute(pop).await.expect("pop");
    (store, client)
}

/// Simulates that the last tend was a minute ago, and perhaps on another server.
async fn outage(client: &Client, is_restart: bool) {
    let start = match is_restart {
        true => "pg_postmaster_start_time() - interval '1 day'",
        false => "pg_postmaster_start_time()",
    };
    let gap = format!(
        "UPDATE upkeep SET bound_at = now() - interval '1 minute', expired_to = now() - interval '1 minute',
             expired_all_at = now() - interval '1 minute', server_started_at = {start}"
    );
    client.batch_execute(&gap).await.expect("an outage");
}

/// Simulates that the outage ended 16 seconds earlier.
async fn time_passes(client: &Client) {
    let later = "UPDATE upkeep SET gap_from = gap_from - interval '16 s', gap_to = gap_to - interval '16 s';
        UPDATE popped SET expires_at = expires_at - interval '16 s'";
    client.batch_execute(later).await.expect("time passes");
}

const FATE: &str = "SELECT concat_ws(' ', state, attempts, error_kind) FROM tasks";

#[tokio::test]
async fn a_worker_can_extend_a_lease_that_expired_in_an_outage() {
    for is_restart in [true, false] {
        let (_store, client) = with_an_expired_lease().await;
        outage(&client, is_restart).await;
        assert_eq!(ask(&client, TEND).await, "0");
        let extend = "SELECT e.held FROM popped, extend(task_id, token) AS e";
        assert_eq!(ask(&client, extend).await, "t");
        time_passes(&client).await;
        assert_eq!(ask(&client, TEND).await, "0");
        let complete = "SELECT complete(task_id, token) FROM popped";
        assert_eq!(ask(&client, complete).await, "t");
    }
}

#[tokio::test]
async fn a_lease_expired_during_a_restart_counts_no_attempt() {
    let (_store, client) = with_an_expired_lease().await;
    outage(&client, true).await;
    assert_eq!(ask(&client, TEND).await, "0");
    time_passes(&client).await;
    assert_eq!(ask(&client, TEND).await, "1");
    assert_eq!(ask(&client, FATE).await, "runnable 0");
    assert_eq!(ask(&client, "SELECT kind FROM attempts").await, "lost");
    // The next one is an ordinary one.
    ask(&client, "SELECT pop(lease => '1 microsecond')").await;
    assert_eq!(ask(&client, TEND).await, "1");
    assert_eq!(ask(&client, FATE).await, "failed 1 timeout");
}

#[tokio::test]
async fn an_expired_lease_of_the_only_tending_worker_counts_an_attempt() {
    let (_store, client) = with_an_expired_lease().await;
    outage(&client, false).await;
    assert_eq!(ask(&client, TEND).await, "0");
    time_passes(&client).await;
    assert_eq!(ask(&client, TEND).await, "1");
    assert_eq!(ask(&client, FATE).await, "failed 1 timeout");
}

#[tokio::test]
async fn a_tend_once_a_minute_expires_a_lease_with_the_second_call() {
    let (_store, client) = with_an_expired_lease().await;
    outage(&client, false).await;
    assert_eq!(ask(&client, TEND).await, "0");
    let minute = "UPDATE upkeep SET bound_at = bound_at - interval '1 minute', gap_to = gap_to - interval '1 minute',
             expired_to = expired_to - interval '1 minute';
        UPDATE popped SET expires_at = expires_at - interval '1 minute 1 s'";
    client.batch_execute(minute).await.expect("a minute passes");
    assert_eq!(ask(&client, TEND).await, "1");
}

#[tokio::test]
async fn a_session_idle_in_transaction_after_tend_is_terminated() {
    let store = store().await;
    let idle = psql(&store).await;
    let client = psql(&store).await;
    let due = "SELECT push('a', delay => '1 ms'); SELECT pg_sleep(0.002)";
    client.batch_execute(due).await.expect("push");
    idle.batch_execute("BEGIN; SELECT tend()")
        .await
        .expect("tend");
    let promoted = "SELECT promoted FROM tend()";
    assert_eq!(ask(&client, promoted).await, "0");
    let started = Instant::now();
    while ask(&client, promoted).await == "0" {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it is not ended"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(idle.batch_execute("COMMIT").await.is_err());
    // The setting applies to the transaction only.
    let timeout = "SHOW idle_in_transaction_session_timeout";
    let fresh = ask(&psql(&store).await, timeout).await;
    assert_eq!(ask(&client, timeout).await, fresh);
}

/// Pages that a tend touches, without those for making its plans at the first uses and after the
/// server has analyzed a table.
async fn pages_of_a_tend(client: &Client) -> i64 {
    let explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM tend()";
    let mut least = i64::MAX;
    for _ in 0..8 {
        let plan = ask(client, explain).await;
        let plan: serde_json::Value = serde_json::from_str(&plan).expect("a plan");
        let plan = &plan[0]["Plan"];
        let pages: i64 = ["Shared Hit Blocks", "Shared Read Blocks"]
            .iter()
            .filter_map(|kind| plan[*kind].as_i64())
            .sum();
        least = least.min(pages);
    }
    least
}

#[tokio::test]
async fn a_tend_does_not_reread_tasks_promoted_under_an_old_snapshot() {
    let store = store().await;
    let client = psql(&store).await;
    let report = psql(&store).await;
    let few = pages_of_a_tend(&client).await;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM history";
    report.batch_execute(begin).await.expect("a report");
    let due = "INSERT INTO scheduled_tasks (id, queue, handler, priority, run_at, args)
        SELECT nextval('task_ids'), 'q', 'a', 0, now() - interval '1 hour', '{}' FROM generate_series(1, 20000);
        UPDATE upkeep SET promote_all_at = '-infinity'";
    client.batch_execute(due).await.expect("due");
    let mut n = 0;
    while ask(&client, "SELECT more FROM tend(10000)").await == "t" {
        n += 1;
    }
    assert_eq!(n, 2);
    let not_now = "UPDATE upkeep SET promote_all_at = now() + interval '5 minutes'";
    client.batch_execute(not_now).await.expect("postpone");
    let after = pages_of_a_tend(&client).await;
    assert!(after < few + 50, "{few} before, {after} after");
    // The next full scan finds a task that committed late.
    let late = "UPDATE upkeep SET promote_all_at = now() + interval '1 hour';
        INSERT INTO scheduled_tasks (id, queue, handler, priority, run_at, args)
        SELECT nextval('task_ids'), 'q', 'a', 0, now() - interval '1 hour', '{}'";
    client.batch_execute(late).await.expect("late");
    let promoted = "SELECT promoted FROM tend()";
    assert_eq!(ask(&client, promoted).await, "1");
}
