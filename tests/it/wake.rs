//! What notifications cost, pushers and runners.

use std::time::{Duration, Instant};

use pgtq_task::Name;
use pgtq_tests::{Database, wait_until_async};

use crate::exactly_once::blocking;
use crate::native::{Engine, leaf, registry};

/// How often the runner has looked for what is due, of all its looks the easiest to count.
const LOOKS: &str =
    "SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions WHERE funcname = 'promote'";

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_forged_notifications_is_no_flood_of_queries() {
    let database = Database::migrated();
    let (sql, role, _) = blocking(database.url()).await;
    let name = sql.row("SELECT current_database()").await;
    sql.row(&format!(
        "ALTER DATABASE {name} SET track_functions = 'all'"
    ))
    .await;
    let engine = Engine::start(database.url(), registry(&role, &[("leaf", leaf)])).await;
    wait_until_async("the runner has looked", || async {
        sql.row(LOOKS).await != "0"
    })
    .await;
    let before: u64 = sql.row(LOOKS).await.parse().expect("a count");
    sql.row(&format!("SET ROLE {role}")).await;
    let began = Instant::now();
    let mut n_forged = 0;
    while began.elapsed() < Duration::from_secs(3) {
        sql.row("SELECT pg_notify('pgtq_wake', 'work')").await;
        sql.row("SELECT pg_notify('pgtq_wake', 'cancel')").await;
        n_forged += 2;
    }
    sql.row("RESET ROLE").await;
    let n_looks = sql.row(LOOKS).await.parse::<u64>().expect("a count") - before;
    let paced = u64::try_from(began.elapsed().as_millis()).expect("small") / 100;
    eprintln!("{n_forged} forged notifications, {n_looks} looks");
    assert!(n_looks > 5, "{n_looks}");
    // Ten are free, and it looks now and then by itself.
    assert!(n_looks <= 30 + 2 * paced, "{n_looks} looks");
    // What is really pushed is run all the same.
    sql.row("SELECT pgtq.push('leaf')").await;
    wait_until_async("it has ended", || async {
        sql.row("SELECT state FROM pgtq.history").await == "complete"
    })
    .await;
    engine.stop().await;
}

/// How often runners have asked for a notification: as many as were sent, or one more.
const REQUESTS: &str = "SELECT coalesce(sum(last_value / 1024), 0) FROM pg_sequences
    WHERE schemaname = 'pgtq' AND sequencename LIKE 'wake\\_%'";

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_runner_of_another_queue_is_never_notified() {
    let database = Database::migrated();
    let (sql, role, _) = blocking(database.url()).await;
    let rare = Name::new("rare").expect("a name");
    let handlers = registry(&role, &[("leaf", leaf)]);
    let engine = Engine::serving(database.url(), handlers, Some(rare)).await;
    wait_until_async("the runner waits for tasks", || async {
        sql.row(REQUESTS).await == "1"
    })
    .await;
    // The names of the two queues choose different flags.
    for _ in 0..200 {
        sql.row("SELECT pgtq.push('leaf')").await;
    }
    assert_eq!(sql.row(REQUESTS).await, "1");
    sql.row("SELECT pgtq.push('leaf', queue => 'rare')").await;
    wait_until_async("it has ended", || async {
        sql.row("SELECT count(*) FROM pgtq.history").await == "1"
    })
    .await;
    wait_until_async("it has been notified once and asks again", || async {
        sql.row(REQUESTS).await == "2"
    })
    .await;
    engine.stop().await;
}
