//! Claims that the database or the runner does not know any more.

use crate::testdb::*;
use crate::verbs::beat::Beat;

#[tokio::test]
async fn a_beat_reports_lost_and_orphaned_claims() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    store
        .push(&[new_task("a"), new_task("a")])
        .await
        .expect("push");
    let known = runner.claim(1).await;
    // Another handle on the same runner: the first cannot know its claims.
    let orphaned_claim = {
        let mut twin = TestRunner::new(&store, &["a"]).await;
        twin.id = runner.id;
        twin.claim(1).await
    };
    let reply = runner
        .store
        .beat(runner.id, &Beat::default())
        .await
        .expect("beat");
    assert!(reply.alive);
    assert_eq!(reply.claims.len(), 2);
    assert_eq!(reply.orphaned, [orphaned_claim[0].claim]);
    let released = runner
        .store
        .release_claim(runner.id, orphaned_claim[0].claim)
        .await;
    assert_eq!(released.expect("release"), 1);
    let client = psql(&store).await;
    client
        .batch_execute("DELETE FROM claims")
        .await
        .expect("delete");
    let reply = runner
        .store
        .beat(runner.id, &Beat::default())
        .await
        .expect("beat");
    assert_eq!(reply.lost, [known[0].claim]);
    assert!(reply.orphaned.is_empty());
}

#[tokio::test]
async fn an_empty_claim_left_by_isolate_is_orphaned() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    store.push(&[new_task("a")]).await.expect("push");
    let ending = runner.claim(1).await.remove(0);
    let client = psql(&store).await;
    let rename = |from: &str, to: &str| format!("ALTER FUNCTION {from}(bigint[]) RENAME TO {to}");
    let away = rename("release_claims", "gone");
    client.batch_execute(&away).await.expect("rename");
    let isolated = runner
        .store
        .isolate(runner.id, ending.claim, ending.task.id);
    assert!(isolated.await.expect("isolate").is_some());
    let back = rename("gone", "release_claims");
    client.batch_execute(&back).await.expect("rename");
    // Otherwise it would keep history from being pruned while its runner lives.
    let said = Beat::default();
    let reply = runner.store.beat(runner.id, &said).await.expect("beat");
    assert_eq!(reply.orphaned, [ending.claim]);
    let released = runner.store.release_claim(runner.id, ending.claim).await;
    assert_eq!(released.expect("release"), 0);
    assert_eq!(ask(&client, "SELECT count(*) FROM claims").await, "1");
    assert_eq!(ask(&client, "SELECT count(*) FROM running").await, "1");
}
