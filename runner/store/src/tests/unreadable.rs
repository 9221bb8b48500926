//! Rows that the server cannot return: each is logged and left out, and the others go on.

use tokio_postgres::Client;

use crate::connect::config::DatabaseConfig;
use crate::connect::connection::Store;
use crate::read::filter::Filter;
use crate::testdb::*;
use crate::tests::blame::lose;
use crate::tests::bytes::push_large;
use crate::verbs::maintain::PromoteCursor;
use pgtq_task::TaskId;

/// A migrated store in a separate database.
pub(super) async fn own_database(options: &str) -> Store {
    let first = store().await;
    let name = format!("own_{}", first.config().schema.as_str());
    let create =
        format!("CREATE DATABASE {name} TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' {options}");
    let client = psql(&first).await;
    client.batch_execute(&create).await.expect("create");
    let mut config: DatabaseConfig = first.config().clone();
    config.postgres.dbname(&name);
    let store = Store::connect(config).await.expect("connect");
    store.migrate().await.expect("migrate");
    store
}

/// Damages the large values of a table.
pub(super) async fn damage(client: &Client, table: &str) {
    damage_where(client, table, "true").await;
}

/// Inserts a runnable task whose arguments are these bytes.
async fn insert_bytes(store: &Store, bytes: &str) -> i64 {
    let client = psql(store).await;
    let insert = format!(
        "WITH new AS (SELECT nextval('task_ids') AS id)
         INSERT INTO runnable_tasks (queue, handler, priority, position, id, args)
         SELECT 'default', 'a', 0, id, id, convert_from('{bytes}', 'SQL_ASCII')::json FROM new
         RETURNING id"
    );
    ask(&client, &insert).await.parse().expect("an id")
}

/// Three tasks of which the second is unreadable: the others are claimed, and operators see all
/// of them.
async fn is_left_out(store: &Store, id: i64) {
    let mut runner = TestRunner::new(store, &["a"]).await;
    let mut claimed = Vec::new();
    for _ in 0..4 {
        claimed.extend(runner.claim_on(100).await);
    }
    let ids: Vec<i64> = claimed.iter().map(|ending| ending.task.id.0).collect();
    assert_eq!(ids.len(), 20, "{ids:?}");
    assert!(!ids.contains(&id));
    let listed = store.tasks(&Filter::default()).await.expect("tasks");
    let bad = |task: &crate::read::task_row::TaskRow| {
        let message = task.error_message.as_deref().unwrap_or_default();
        message.contains("the database cannot read this task")
    };
    let named: Vec<TaskId> = listed
        .iter()
        .filter(|task| bad(task))
        .map(|t| t.id)
        .collect();
    assert_eq!((listed.len(), named), (21, vec![TaskId(id)]));
    let shown = store.task(TaskId(id)).await.expect("show").expect("there");
    assert!(bad(&shown.task), "{shown:?}");
    // Later tasks run as well, and a new runner behaves the same.
    store.push(&[new_task("a")]).await.expect("push");
    assert_eq!(runner.claim(100).await.len(), 1);
    store.push(&[new_task("a")]).await.expect("push");
    let mut second = TestRunner::new(store, &["a"]).await;
    assert_eq!(second.claim(100).await.len(), 1);
}

#[tokio::test]
async fn a_task_with_invalid_text_is_skipped_and_the_others_run() {
    let store = own_database("ENCODING 'SQL_ASCII'").await;
    store.push(&vec![new_task("a"); 10]).await.expect("push");
    let id = insert_bytes(&store, r"\x7b2276616c7565223a22636166e9227d").await;
    store.push(&vec![new_task("a"); 10]).await.expect("push");
    is_left_out(&store, id).await;
}

#[tokio::test]
async fn a_task_with_a_damaged_value_is_skipped_and_the_others_run() {
    let store = own_database("").await;
    store.push(&vec![new_task("a"); 10]).await.expect("push");
    push_large(&store, 1, 100_000).await;
    let client = psql(&store).await;
    let id = ask(&client, "SELECT max(id) FROM runnable_tasks").await;
    store.push(&vec![new_task("a"); 10]).await.expect("push");
    damage(&client, "runnable_tasks").await;
    is_left_out(&store, id.parse().expect("an id")).await;
}

/// Damages the large value of a table that contains this number.
async fn damage_one(store: &Store, table: &str, number: usize) {
    let client = psql(store).await;
    let one = format!("n = {number}");
    damage_where(&client, table, &one).await;
}

/// Damages large values of a table: those with these numbers `n`.
async fn damage_where(client: &Client, table: &str, which: &str) {
    let toast =
        format!("SELECT reltoastrelid::regclass FROM pg_class WHERE oid = '{table}'::regclass");
    let toast = ask(client, &toast).await;
    // The server does not allow changes to a table that is marked as a TOAST table.
    let kind =
        |kind| format!("UPDATE pg_class SET relkind = '{kind}' WHERE oid = '{toast}'::regclass");
    let delete = format!(
        "DELETE FROM {toast} WHERE chunk_seq = 3 AND chunk_id IN (
             SELECT chunk_id FROM (
                 SELECT chunk_id, row_number() OVER (ORDER BY chunk_id) - 1 AS n
                 FROM (SELECT DISTINCT chunk_id FROM {toast}) AS d) AS v WHERE {which})"
    );
    let damage = [kind('r'), delete, kind('t')].join("; ");
    client.batch_execute(&damage).await.expect("damage");
    // Until then it is still readable.
    let vacuum = format!("VACUUM {table}");
    client.batch_execute(&vacuum).await.expect("vacuum");
}

/// A session in a separate database, with 21 tasks of which the eleventh is large.
async fn with_one_large() -> (Store, Client) {
    let store = own_database("").await;
    store.push(&vec![new_task("a"); 10]).await.expect("push");
    push_large(&store, 1, 100_000).await;
    store.push(&vec![new_task("a"); 10]).await.expect("push");
    let client = psql(&store).await;
    (store, client)
}

#[tokio::test]
async fn a_due_task_with_a_damaged_value_delays_no_other() {
    let (store, client) = with_one_large().await;
    let later = "INSERT INTO scheduled_tasks (id, queue, handler, priority, run_at, args)
            SELECT id, queue, handler, priority, now() - interval '1 minute' * id / 100, args FROM runnable_tasks;
        TRUNCATE runnable_tasks";
    client.batch_execute(later).await.expect("make all due");
    damage(&client, "scheduled_tasks").await;
    // Those before it, it alone, those after it.
    let mut cursor = PromoteCursor::default();
    let mut counts = Vec::new();
    for limit in [4, 6, 1] {
        let promoted = store.promote_next(limit, &mut cursor).await;
        let promoted = promoted.expect("promote");
        counts.push((promoted.count, promoted.more));
    }
    assert_eq!(counts, [(4, true), (6, true), (0, true)]);
    let tend = "SELECT promoted || ' ' || more FROM tend()";
    assert_eq!(ask(&client, tend).await, "10 false");
    let left = "SELECT string_agg(id::text, ' ') FROM scheduled_tasks";
    assert_eq!(ask(&client, left).await, "11");
    // Sessions that know it, and sessions that do not.
    for limit in [1, 1000] {
        let again = store.promote(limit).await.expect("promote");
        assert_eq!(again.count, 0);
        let other = psql(&store).await;
        assert_eq!(ask(&other, tend).await, "0 false");
    }
}

#[tokio::test]
async fn a_lease_of_a_damaged_task_delays_no_other() {
    let (store, client) = with_one_large().await;
    let pop = "SELECT count(*) FROM pop(n => 100, lease => '1 microsecond')";
    assert_eq!(ask(&client, pop).await, "21");
    damage(&client, "popped").await;
    let tended = store.tend(1000).await.expect("tend");
    assert_eq!((tended.expired, tended.more), (20, false));
    let left = "SELECT string_agg(task_id::text, ' ') FROM popped";
    assert_eq!(ask(&client, left).await, "11");
    let pop = "SELECT count(*) FROM pop(n => 100)";
    assert_eq!(ask(&client, pop).await, "20");
}

/// All but the eleventh are popped, by single and by batch pops, and that one stays.
async fn others_are_popped(client: &Client) {
    let mut counts = Vec::new();
    for n in [1, 9, 1, 4, 100, 1] {
        let pop = format!("SELECT count(*) FROM pop(n => {n})");
        counts.push(ask(client, &pop).await);
    }
    assert_eq!(counts, ["1", "9", "1", "4", "5", "0"]);
    let left = "SELECT string_agg(id::text, ' ') FROM runnable_tasks";
    assert_eq!(ask(client, left).await, "11");
}

#[tokio::test]
async fn a_task_with_a_damaged_value_is_skipped_by_pop() {
    let (_store, client) = with_one_large().await;
    damage(&client, "runnable_tasks").await;
    others_are_popped(&client).await;
}

#[tokio::test]
async fn a_task_unsendable_to_a_client_is_skipped_by_pop() {
    let store = own_database("ENCODING 'SQL_ASCII'").await;
    store.push(&vec![new_task("a"); 10]).await.expect("push");
    let id = insert_bytes(&store, r"\x7b2276616c7565223a22636166e9227d").await;
    assert_eq!(id, 11);
    store.push(&vec![new_task("a"); 10]).await.expect("push");
    let client = psql(&store).await;
    others_are_popped(&client).await;
    // It is sent to a client that accepts all bytes.
    client
        .batch_execute("RESET ALL; SET client_encoding = 'SQL_ASCII'")
        .await
        .expect("set");
    let schema = &store.config().schema;
    let pop = format!("SELECT count(*) FROM {schema}.pop()");
    assert_eq!(ask(&client, &pop).await, "1");
}

/// A runner with three claims of four large tasks each, of which the second claim is unreadable.
async fn three_claims(store: &Store) -> TestRunner {
    push_large(store, 12, 1_000_000).await;
    let mut runner = TestRunner::new(store, &["a"]).await;
    for _ in 0..3 {
        assert_eq!(runner.claim_on(4).await.len(), 4);
    }
    damage_one(store, "claims", 1).await;
    runner
}

/// The tasks of the first and the third claim wait, and the second claim still exists.
async fn all_but_the_second_are_back(store: &Store) {
    let client = psql(store).await;
    let waiting = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM runnable_tasks";
    assert_eq!(ask(&client, waiting).await, "1 2 3 4 9 10 11 12");
    let left = "SELECT string_agg(task_ids::text, ' ') FROM claims";
    assert_eq!(ask(&client, left).await, "{5,6,7,8}");
    assert_eq!(ask(&client, "SELECT count(*) FROM runners").await, "0");
}

#[tokio::test]
async fn an_unreadable_lost_claim_stays_and_the_others_are_rescued() {
    let store = own_database("").await;
    let runner = three_claims(&store).await;
    let client = psql(&store).await;
    let asked = format!(
        "UPDATE runners SET expires_at = now() - interval '1 second' WHERE id = {};
         SELECT cancel_tasks('{{6}}')",
        runner.id.0
    );
    client.batch_execute(&asked).await.expect("lost");
    let mut n_tasks = 0;
    for _ in 0..3 {
        n_tasks += store.rescue().await.expect("rescue").tasks;
    }
    assert_eq!(n_tasks, 8);
    all_but_the_second_are_back(&store).await;
    // It hides no claims that are lost later, and a rescue that does not know it logs it.
    let mut second = TestRunner::new(&store, &["a"]).await;
    assert_eq!(second.claim_on(4).await.len(), 4);
    lose(&store, &second, "").await;
    all_but_the_second_are_back(&store).await;
    let told = "SELECT cardinality(left_out) FROM rescue(true, 1)";
    assert_eq!(ask(&client, told).await, "1");
    // After it is deleted, the database is as before.
    client
        .batch_execute("DELETE FROM claims")
        .await
        .expect("deleted");
    let told = "SELECT cardinality(left_out) FROM rescue()";
    assert_eq!(ask(&client, told).await, "0");
    assert_eq!(
        ask(&client, "SELECT count(*) FROM cancellations").await,
        "0"
    );
}

#[tokio::test]
async fn a_retiring_runner_releases_all_but_an_unreadable_claim() {
    let store = own_database("").await;
    let runner = three_claims(&store).await;
    assert_eq!(runner.store.retire(runner.id).await.expect("retire"), 8);
    all_but_the_second_are_back(&store).await;
}

#[tokio::test]
async fn an_unreadable_claim_hides_no_other_task_from_operators() {
    let store = own_database("").await;
    let runner = three_claims(&store).await;
    let waiting = store.push(&[new_task("a")]).await.expect("push")[0].id;
    let client = psql(&store).await;
    for (id, state) in [(1, "running"), (6, ""), (9, "running"), (13, "runnable")] {
        if id != 6 {
            let get = format!("SELECT state FROM get({id}) WHERE args IS NOT NULL");
            assert_eq!(ask(&client, &get).await, state);
            let listed = format!("SELECT state FROM tasks WHERE id = {id} AND args IS NOT NULL");
            assert_eq!(ask(&client, &listed).await, state);
        }
        let detail = store.task(TaskId(id)).await.expect("read").expect("there");
        assert_eq!(detail.task.error_message.is_some(), id == 6);
    }
    for (counted, n) in [
        ("SELECT count(*) FROM running", "12"),
        ("SELECT count(*) FROM tasks WHERE state = 'runnable'", "1"),
        ("SELECT sum(running) FROM queue_stats", "12"),
        ("SELECT demand()", "13"),
    ] {
        assert_eq!(ask(&client, counted).await, n);
    }
    assert_eq!(store.queues().await.expect("queues")[0].running, 12);
    // A list shows its tasks without the unreadable values, and names the claim.
    let page = store.page(&Filter::default()).await.expect("a page");
    assert_eq!(page.tasks.len(), 13);
    assert_eq!(page.tasks[0].id, waiting);
    let claim = ask(&client, "SELECT id FROM claims WHERE task_ids[1] = 5").await;
    let reason = format!("the database cannot read claim {claim}, which holds this task: ");
    for task in &page.tasks {
        let is_damaged = (5..=8).contains(&task.id.0);
        let told = task.error_message.as_deref().unwrap_or_default();
        assert_eq!(told.starts_with(&reason), is_damaged, "{task:?}");
    }
    let all = client.simple_query("SELECT * FROM running").await;
    let code = all.expect_err("damaged").code().cloned();
    assert_eq!(code.expect("of the server").code(), "XX001");
    drop(runner);
}
