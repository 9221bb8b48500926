//! Large arguments, and rows that the server cannot return.

use crate::connect::connection::Store;
use crate::read::filter::Filter;
use crate::testdb::*;
use crate::verbs::maintain::PromoteCursor;
use pgtq_task::{NewTask, TaskId};

/// Pushes tasks whose arguments have this many bytes and do not compress much.
pub(super) async fn push_large(store: &Store, n: usize, n_bytes: usize) {
    let client = psql(store).await;
    let push = format!(
        "SELECT count(push('a', (SELECT json_build_array(string_agg(md5(random()::text || i), ''))::text
             FROM generate_series(1, {}) AS i WHERE n > 0)))
         FROM generate_series(1, {n}) AS n",
        n_bytes / 32
    );
    client.batch_execute(&push).await.expect("push");
}

/// As [`push_large`], with one repeated letter.
pub(super) async fn push_compressible(store: &Store, n: usize, n_bytes: usize) {
    let client = psql(store).await;
    let push = format!(
        "SELECT count(push('a', json_build_array(repeat('x', {n_bytes}))::text)) FROM generate_series(1, {n})"
    );
    client.batch_execute(&push).await.expect("push");
}

#[tokio::test]
async fn a_claim_of_large_arguments_is_bounded_in_bytes_and_the_next_one_follows() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    push_large(&store, 12, 1_000_000).await;
    push_compressible(&store, 12, 1_000_000).await;
    let mut sizes = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..6 {
        let claimed = runner.claim_on(500).await;
        let bytes: usize = claimed.iter().map(|ending| ending.task.args.len()).sum();
        assert!(bytes <= 8 << 20, "{bytes}");
        sizes.push(claimed.len());
        ids.extend(claimed.iter().map(|ending| ending.task.id));
    }
    assert_eq!(sizes, [8, 8, 8, 0, 0, 0]);
    assert!(ids.is_sorted() && ids.len() == 24, "{ids:?}");
    // A single one is taken regardless of its size, and small ones as before.
    let all: Vec<NewTask> = vec![new_task("a"); 600];
    store.push(&all).await.expect("push");
    assert_eq!(runner.claim_on(500).await.len(), 500);
}

#[tokio::test]
async fn a_claim_of_compressible_arguments_is_bounded_in_bytes() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    push_compressible(&store, 20, 1_000_000).await;
    let mut sizes = Vec::new();
    for _ in 0..3 {
        sizes.push(runner.claim_on(500).await.len());
    }
    assert_eq!(sizes, [8, 8, 4]);
}

#[tokio::test]
async fn a_page_of_large_tasks_ends_at_its_bytes_and_the_next_one_follows() {
    let store = store().await;
    push_large(&store, 40, 1_000_000).await;
    let mut filter = Filter {
        limit: 100,
        ..Filter::default()
    };
    let mut sizes = Vec::new();
    loop {
        let page = store.tasks(&filter).await.expect("tasks");
        let Some(last) = page.last() else { break };
        filter.before = Some(last.id);
        sizes.push(page.len());
    }
    assert_eq!(sizes, [17, 17, 6]);
}

#[tokio::test]
async fn a_retiring_runner_releases_large_claims_in_steps() {
    let store = store().await;
    let client = psql(&store).await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    push_large(&store, 24, 1_000_000).await;
    for _ in 0..3 {
        assert_eq!(runner.claim_on(500).await.len(), 8);
    }
    let schema = store.config().schema.to_string();
    let watch = format!(
        "CREATE TABLE moved (n bigint);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO {schema}.moved SELECT count(*) FROM new; RETURN NULL; END';
         CREATE TRIGGER note AFTER INSERT ON runnable_tasks REFERENCING NEW TABLE AS new
             FOR EACH STATEMENT EXECUTE FUNCTION note()"
    );
    client.batch_execute(&watch).await.expect("watch");
    assert_eq!(runner.store.retire(runner.id).await.expect("retire"), 24);
    let moved = "SELECT string_agg(n::text, ' ') FROM moved WHERE n > 0";
    assert_eq!(ask(&client, moved).await, "8 8 8");
    assert_eq!(ask(&client, "SELECT count(*) FROM claims").await, "0");
    assert_eq!(ask(&client, "SELECT count(*) FROM runners").await, "0");
}

#[tokio::test]
async fn large_tasks_are_cancelled_retried_and_deleted_in_steps() {
    let store = store().await;
    let client = psql(&store).await;
    push_large(&store, 40, 1_000_000).await;
    let schema = store.config().schema.to_string();
    let watch = format!(
        "CREATE TABLE moved (what text, n bigint);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO {schema}.moved SELECT tg_op || tg_table_name, count(*) FROM rows; RETURN NULL; END';
         CREATE TRIGGER put AFTER INSERT ON runnable_tasks REFERENCING NEW TABLE AS rows FOR EACH STATEMENT EXECUTE FUNCTION note();
         CREATE TRIGGER put AFTER INSERT ON history REFERENCING NEW TABLE AS rows FOR EACH STATEMENT EXECUTE FUNCTION note();
         CREATE TRIGGER gone AFTER DELETE ON history REFERENCING OLD TABLE AS rows FOR EACH STATEMENT EXECUTE FUNCTION note()"
    );
    client.batch_execute(&watch).await.expect("watch");
    let all: Vec<TaskId> = (1..=40).map(TaskId).collect();
    let moved = |what: &str| {
        format!("SELECT string_agg(n::text, ' ') FROM moved WHERE n > 0 AND what = '{what}'")
    };
    let cancelled = store.cancel(&all).await.expect("cancel");
    assert_eq!(cancelled.iter().filter(|one| one.changed).count(), 40);
    assert_eq!(ask(&client, &moved("INSERThistory")).await, "16 16 8");
    let retried = store.retry(&all).await.expect("retry");
    assert_eq!(retried.iter().filter(|one| one.changed).count(), 40);
    assert_eq!(
        ask(&client, &moved("INSERTrunnable_tasks")).await,
        "16 16 8"
    );
    store.cancel(&all).await.expect("cancel");
    client
        .batch_execute("DELETE FROM moved")
        .await
        .expect("empty");
    let deleted = store.delete(&all).await.expect("delete");
    assert_eq!(deleted.iter().filter(|one| one.changed).count(), 40);
    assert_eq!(ask(&client, &moved("DELETEhistory")).await, "16 16 8");
    // Many small ones are moved in one statement.
    let pushed = store.push(&vec![new_task("a"); 1_000]).await.expect("push");
    let small: Vec<TaskId> = pushed.iter().map(|one| one.id).collect();
    store.cancel(&small).await.expect("cancel");
    assert_eq!(ask(&client, &moved("INSERThistory")).await, "1000");
}

#[tokio::test]
async fn due_tasks_with_large_arguments_are_promoted_in_steps() {
    let store = store().await;
    push_large(&store, 20, 1_000_000).await;
    let client = psql(&store).await;
    let later = "INSERT INTO scheduled_tasks (id, queue, handler, priority, run_at, args)
            SELECT id, queue, handler, priority, now() - interval '1 minute', args FROM runnable_tasks;
        TRUNCATE runnable_tasks";
    client.batch_execute(later).await.expect("make all due");
    let mut cursor = PromoteCursor::default();
    let first = store.promote_next(1_000, &mut cursor).await;
    let first = first.expect("promote");
    assert_eq!((first.count, first.more), (8, true));
    let tend = "SELECT promoted || ' ' || more FROM tend()";
    assert_eq!(ask(&client, tend).await, "8 true");
    assert_eq!(ask(&client, tend).await, "4 false");
    let last = store.promote_next(1_000, &mut cursor).await;
    assert_eq!(
        last.expect("promote"),
        crate::verbs::maintain::Promoted::default()
    );
}
