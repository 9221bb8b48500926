//! Outcomes rejected by the database: they are kept and retried, do not become failures,
//! and do not delay other outcomes.

use std::time::Duration;

use pgtq_task::{Attempt, HandlerFuture, Outcome, Report, SqlGrant};
use pgtq_tests::{Sql, User, wait_until};
use tokio::runtime::Runtime;

use crate::native::{Engine, busy, registry};
use crate::tasks::{assert_completed_once, database, n_finished, push, wait_for_finished};

fn brief(_: Attempt, _: SqlGrant) -> HandlerFuture {
    Box::pin(async {
        busy(Duration::from_millis(2)).await;
        Report::without_guest(Outcome::Complete {
            result: "true".to_owned(),
        })
    })
}

fn engine(runtime: &Runtime, url: &str) -> Engine {
    let handlers = registry("unused", &[("brief", brief), ("rejected", brief)]);
    runtime.block_on(Engine::start(url, handlers))
}

/// Makes the database reject outcomes of these tasks, and count the rejections.
fn reject(sql: &Sql, tasks: &str, sqlstate: &str) {
    sql.rows(&format!(
        "CREATE SEQUENCE public.n_rejected;
         CREATE FUNCTION public.reject() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM nextval('public.n_rejected');
             RAISE EXCEPTION 'rejected by the test' USING ERRCODE = '{sqlstate}';
         END $$;
         CREATE TRIGGER reject BEFORE INSERT ON pgtq.history FOR EACH ROW WHEN ({tasks}) EXECUTE FUNCTION public.reject()"
    ));
}

fn n_rejected(sql: &Sql) -> i64 {
    sql.number("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM public.n_rejected")
}

fn accept_again(sql: &Sql) {
    sql.rows("DROP TRIGGER reject ON pgtq.history");
}

fn n_claimed(sql: &Sql) -> i64 {
    sql.number("SELECT count(*) FROM pgtq.claims")
}

#[test]
fn an_io_error_of_the_server_loses_no_result() {
    let (database, sql) = database();
    let runtime = Runtime::new().expect("a runtime starts");
    reject(&sql, "true", "58030");
    let engine = engine(&runtime, database.url());
    push(&sql, "brief", 40, "{}");
    // Several retries, each with all outcomes.
    wait_until("outcomes were rejected repeatedly", || {
        n_rejected(&sql) >= 8
    });
    assert_eq!(n_finished(&sql), 0);
    accept_again(&sql);
    wait_for_finished(&sql, 40);
    assert_completed_once(&sql, 40);
    runtime.block_on(engine.stop());
}

#[test]
fn a_revoked_and_regranted_privilege_only_costs_time() {
    let (database, sql) = database();
    let runtime = Runtime::new().expect("a runtime starts");
    let User { role, url } = User::of_kind("runner", database.url(), &sql);
    let engine = engine(&runtime, &url);
    push(&sql, "brief", 1, "{}");
    wait_for_finished(&sql, 1);
    let holders = sql.rows(
        "SELECT DISTINCT grantee FROM information_schema.role_table_grants
         WHERE table_schema = 'pgtq' AND table_name = 'history' AND privilege_type = 'INSERT' AND grantee <> 'pgtq'",
    );
    let holder = holders.first().unwrap_or(&role);
    let n_rejected = || {
        sql.number("SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()")
    };
    let before = n_rejected();
    sql.rows(&format!("REVOKE INSERT ON pgtq.history FROM {holder}"));
    push(&sql, "brief", 39, "{}");
    wait_until("outcomes were rejected repeatedly", || {
        n_rejected() >= before + 8
    });
    assert_eq!(n_finished(&sql), 1, "none is accepted");
    sql.rows(&format!("GRANT INSERT ON pgtq.history TO {holder}"));
    wait_for_finished(&sql, 40);
    assert_completed_once(&sql, 40);
    runtime.block_on(engine.stop());
}

/// One outcome is rejected, the others are stored and more tasks are claimed. Then the
/// outcome is accepted unchanged.
#[track_caller]
fn assert_one_delays_no_other(sqlstate: &str) {
    let (database, sql) = database();
    let runtime = Runtime::new().expect("a runtime starts");
    reject(&sql, "NEW.handler = 'rejected'", sqlstate);
    let engine = engine(&runtime, database.url());
    push(&sql, "rejected", 1, "{}");
    push(&sql, "brief", 40, "{}");
    wait_for_finished(&sql, 40);
    push(&sql, "brief", 40, "{}");
    wait_for_finished(&sql, 80);
    assert_eq!(n_claimed(&sql), 1, "the rejected outcome is kept");
    accept_again(&sql);
    wait_for_finished(&sql, 81);
    assert_completed_once(&sql, 81);
    assert_eq!(n_claimed(&sql), 0);
    runtime.block_on(engine.stop());
}

#[test]
fn an_outcome_rejected_by_the_database_is_kept_and_delays_no_other() {
    assert_one_delays_no_other("23514");
}

#[test]
fn an_outcome_causing_an_internal_error_is_kept_and_delays_no_other() {
    assert_one_delays_no_other("XX000");
}
