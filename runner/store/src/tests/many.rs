//! Large flushes, which are copied: they store the same as small ones.

use std::time::Duration;

use crate::connect::connection::Store;
use crate::testdb::*;
use crate::verbs::outcome_record::OutcomeRecord;
use pgtq_task::{Digest, ErrorKind, Failure, LogLevel, LogLine, NewTask, Retries, Transition};

/// Everything except values that differ between tasks and over time.
const ROWS: &str = "
    SELECT string_agg(concat_ws(' | ', state, priority, attempts, crashes, coalesce(retries::text, '-'), queue, handler, args,
        coalesce(result::text, '-'), coalesce(error_kind, '-'), coalesce(error_code, '-'), coalesce(error_message, '-'),
        coalesce(error_details::text, '-'), coalesce(backtrace::text, '-'), coalesce(logs::text, '-'), logs_dropped,
        pushed_at = due_at, round(extract(epoch FROM finished_at - started_at) * 1000), finished_at <= now(),
        fuel, peak_memory, wall_us, coalesce(digest::text, '-'), runner_id IS NOT NULL, claim_id IS NOT NULL,
        coalesce(key, '-'), coalesce(parent::text, '-')), E'\\n' ORDER BY id)
    FROM history";

/// All tasks, claimed, with one of every kind of final outcome.
async fn of_every_kind(runner: &mut TestRunner, key: &str) -> Vec<OutcomeRecord> {
    let special = NewTask {
        priority: -3,
        retries: Some(Retries::from_column(7)),
        key: Some(key.to_owned()),
        parent: Some(pgtq_task::TaskId(77)),
        ..NewTask::new(name("a"), r#"{"text": "Zoë \u0041 \"q\""}"#)
    };
    let tasks = [special, new_task("a"), new_task("a"), new_task("a")];
    runner.store.push(&tasks).await.expect("push");
    let mut endings = runner.claim(10).await;
    assert_eq!(endings.len(), 4);
    endings[0].record.usage.fuel = u64::MAX;
    endings[0].record.usage.peak_memory = 65_536;
    endings[0].record.usage.wall = Duration::from_micros(1_234);
    endings[0].record.digest = Some(Digest([7; 32]));
    endings[0].record.logs = vec![LogLine {
        at_ms: 3,
        level: LogLevel::Warn,
        message: "a\0b".into(),
        fields: None,
        dropped: None,
    }];
    endings[0].record.logs_dropped = 9;
    let failure = Failure {
        code: "broken".into(),
        details: Some("[1]".into()),
        backtrace: vec!["first \"frame\"".into(), "{second,}".into()],
        ..Failure::new(ErrorKind::Panic, "no\0 luck")
    };
    endings[1].transition = Transition::Fail { failure };
    let reason = "not wanted".to_owned();
    endings[2].transition = Transition::Cancel { reason };
    endings
}

async fn finish(
    runner: &TestRunner,
    endings: &[OutcomeRecord],
) -> crate::verbs::outcome_record::FinishResult {
    let finished = runner.store.finish(runner.id, endings, false).await;
    finished.expect("finish")
}

/// The history after a flush of every kind of final outcome.
async fn stored(many: usize) -> String {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    runner.store.set_many(many);
    let endings = of_every_kind(&mut runner, "k").await;
    // All but one, so that the claim continues; and then the claim ends.
    assert_eq!(finish(&runner, &endings[..3]).await, Default::default());
    let client = psql(&store).await;
    assert_eq!(ask(&client, "SELECT count(*) FROM claims").await, "1");
    assert_eq!(finish(&runner, &endings[3..]).await, Default::default());
    assert_eq!(ask(&client, "SELECT count(*) FROM claims").await, "0");
    ask(&client, ROWS).await
}

#[tokio::test]
async fn a_large_flush_stores_the_same_as_a_small_one() {
    let small = stored(usize::MAX).await;
    assert!(small.contains("broken") && small.contains("Zoë"), "{small}");
    assert_eq!(stored(1).await, small);
}

/// A runner that always copies, and the tasks that it has claimed.
async fn copying(store: &Store) -> (TestRunner, Vec<OutcomeRecord>) {
    let mut runner = TestRunner::new(store, &["a"]).await;
    runner.store.set_many(1);
    let endings = of_every_kind(&mut runner, "k").await;
    (runner, endings)
}

#[tokio::test]
async fn a_result_without_valid_json_fails_alone_in_a_large_flush() {
    let store = store().await;
    let (runner, mut endings) = copying(&store).await;
    let result = "no json".to_owned();
    endings[3].transition = Transition::Complete { result };
    let finished = finish(&runner, &endings).await;
    assert_eq!(
        finished.refused,
        [(endings[3].claim, endings[3].task.id)],
        "{finished:?}"
    );
    let client = psql(&store).await;
    assert_eq!(ask(&client, "SELECT count(*) FROM complete").await, "1");
    assert_eq!(ask(&client, "SELECT count(*) FROM failed").await, "2");
    assert_eq!(ask(&client, "SELECT count(*) FROM claims").await, "0");
}

#[tokio::test]
async fn a_large_flush_under_a_lost_claim_changes_nothing() {
    let store = store().await;
    let (runner, endings) = copying(&store).await;
    let client = psql(&store).await;
    let taken_back = "SELECT release_claims(ARRAY(SELECT id FROM claims))";
    assert_eq!(ask(&client, taken_back).await, "4");
    let finished = finish(&runner, &endings).await;
    assert_eq!(finished.stale.len(), 4);
    assert_eq!(ask(&client, "SELECT count(*) FROM history").await, "0");
    assert_eq!(ask(&client, "SELECT count(*) FROM runnable").await, "4");
}

#[tokio::test]
async fn a_large_flush_repeated_after_a_lost_answer_counts_once() {
    let store = store().await;
    let (runner, endings) = copying(&store).await;
    assert_eq!(finish(&runner, &endings).await, Default::default());
    let again = runner.store.finish(runner.id, &endings, true).await;
    assert_eq!(again.expect("finish"), Default::default());
    let client = psql(&store).await;
    assert_eq!(ask(&client, "SELECT count(*) FROM history").await, "4");
}

#[tokio::test]
async fn only_outcomes_under_the_lost_claim_of_a_large_flush_are_stale() {
    let store = store().await;
    let (mut runner, mut endings) = copying(&store).await;
    let gone = endings[0].claim;
    store.push(&[new_task("a")]).await.expect("push");
    endings.extend(runner.claim(10).await);
    let client = psql(&store).await;
    let taken_back = format!("SELECT release_claims(ARRAY[{}])", gone.0);
    assert_eq!(ask(&client, &taken_back).await, "4");
    let finished = finish(&runner, &endings).await;
    assert_eq!(finished.stale.len(), 4);
    assert!(finished.stale.iter().all(|(claim, _)| *claim == gone));
    assert_eq!(ask(&client, "SELECT count(*) FROM complete").await, "1");
    assert_eq!(ask(&client, "SELECT count(*) FROM runnable").await, "4");
}
