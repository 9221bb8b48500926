//! The cost of notifications for pushers and runners.

use std::time::{Duration, Instant};

use pgtq_task::Name;
use pgtq_tests::{Database, wait_until_async};

use crate::exactly_once::blocking;
use crate::native::{Engine, leaf, registry};

/// The number of the runner's promotions, of all its polls the easiest to count.
const POLLS: &str =
    "SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions WHERE funcname = 'promote'";

#[tokio::test(flavor = "multi_thread")]
async fn forged_notifications_do_not_flood_the_database() {
    let database = Database::migrated();
    let (sql, role, _) = blocking(database.url()).await;
    let name = sql.row("SELECT current_database()").await;
    sql.row(&format!(
        "ALTER DATABASE {name} SET track_functions = 'all'"
    ))
    .await;
    let engine = Engine::start(database.url(), registry(&role, &[("leaf", leaf)])).await;
    wait_until_async("the runner has polled", || async {
        sql.row(POLLS).await != "0"
    })
    .await;
    let before: u64 = sql.row(POLLS).await.parse().expect("a count");
    sql.row(&format!("SET ROLE {role}")).await;
    let began = Instant::now();
    let mut n_forged = 0;
    while began.elapsed() < Duration::from_secs(3) {
        sql.row("SELECT pg_notify('pgtq_wake', 'work')").await;
        sql.row("SELECT pg_notify('pgtq_wake', 'cancel')").await;
        n_forged += 2;
    }
    sql.row("RESET ROLE").await;
    let n_polls = sql.row(POLLS).await.parse::<u64>().expect("a count") - before;
    let paced = u64::try_from(began.elapsed().as_millis()).expect("small") / 100;
    eprintln!("{n_forged} forged notifications, {n_polls} polls");
    assert!(n_polls > 5, "{n_polls}");
    // The burst is ten, and it also polls without notifications.
    assert!(n_polls <= 30 + 2 * paced, "{n_polls} polls");
    // A real push still runs.
    sql.row("SELECT pgtq.push('leaf')").await;
    wait_until_async("the task is finished", || async {
        sql.row("SELECT state FROM pgtq.history").await == "complete"
    })
    .await;
    engine.stop().await;
}

/// The number of requests for a notification: the number sent, or one more.
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
    // The two queues use different flags.
    for _ in 0..200 {
        sql.row("SELECT pgtq.push('leaf')").await;
    }
    assert_eq!(sql.row(REQUESTS).await, "1");
    sql.row("SELECT pgtq.push('leaf', queue => 'rare')").await;
    wait_until_async("the task is finished", || async {
        sql.row("SELECT count(*) FROM pgtq.history").await == "1"
    })
    .await;
    wait_until_async("it was notified once and requests the next", || async {
        sql.row(REQUESTS).await == "2"
    })
    .await;
    engine.stop().await;
}
