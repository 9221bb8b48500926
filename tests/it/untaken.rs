//! Endings that the database does not take: they are kept and offered again, none is
//! turned into a failure, and others do not wait for one.

use std::time::Duration;

use pgtq_task::{Attempt, HandlerFuture, Outcome, Report, SqlGrant};
use pgtq_tests::{Sql, User, wait_until};
use tokio::runtime::Runtime;

use crate::native::{Engine, busy, registry};
use crate::tasks::{assert_completed_once, database, n_ended, push, wait_for_ended};

fn brief(_: Attempt, _: SqlGrant) -> HandlerFuture {
    Box::pin(async {
        busy(Duration::from_millis(2)).await;
        Report::without_guest(Outcome::Complete {
            result: "true".to_owned(),
        })
    })
}

fn engine(runtime: &Runtime, url: &str) -> Engine {
    let handlers = registry("nobody", &[("brief", brief), ("odd", brief)]);
    runtime.block_on(Engine::start(url, handlers))
}

/// Has the database refuse endings of tasks like this, and count how often.
fn refuse(sql: &Sql, tasks: &str, sqlstate: &str) {
    sql.rows(&format!(
        "CREATE SEQUENCE public.n_refused;
         CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM nextval('public.n_refused');
             RAISE EXCEPTION 'it does not take it' USING ERRCODE = '{sqlstate}';
         END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON pgtq.history FOR EACH ROW WHEN ({tasks}) EXECUTE FUNCTION public.refuse()"
    ));
}

fn n_refused(sql: &Sql) -> i64 {
    sql.number("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM public.n_refused")
}

fn take_again(sql: &Sql) {
    sql.rows("DROP TRIGGER refuse ON pgtq.history");
}

fn n_claimed(sql: &Sql) -> i64 {
    sql.number("SELECT count(*) FROM pgtq.claims")
}

#[test]
fn an_io_error_of_the_server_is_waited_out_and_every_result_kept() {
    let (database, sql) = database();
    let runtime = Runtime::new().expect("a runtime starts");
    refuse(&sql, "true", "58030");
    let engine = engine(&runtime, database.url());
    push(&sql, "brief", 40, "{}");
    // More than a few tries, each of which offers what is there.
    wait_until("it was offered again and again", || n_refused(&sql) >= 8);
    assert_eq!(n_ended(&sql), 0);
    take_again(&sql);
    wait_for_ended(&sql, 40);
    assert_completed_once(&sql, 40);
    runtime.block_on(engine.stop());
}

#[test]
fn a_right_that_is_taken_away_and_given_back_costs_time_only() {
    let (database, sql) = database();
    let runtime = Runtime::new().expect("a runtime starts");
    let User { role, url } = User::of_kind("runner", database.url(), &sql);
    let engine = engine(&runtime, &url);
    push(&sql, "brief", 1, "{}");
    wait_for_ended(&sql, 1);
    let holders = sql.rows(
        "SELECT DISTINCT grantee FROM information_schema.role_table_grants
         WHERE table_schema = 'pgtq' AND table_name = 'history' AND privilege_type = 'INSERT' AND grantee <> 'pgtq'",
    );
    let holder = holders.first().unwrap_or(&role);
    let n_refused = || {
        sql.number("SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()")
    };
    let before = n_refused();
    sql.rows(&format!("REVOKE INSERT ON pgtq.history FROM {holder}"));
    push(&sql, "brief", 39, "{}");
    wait_until("it was refused again and again", || {
        n_refused() >= before + 8
    });
    assert_eq!(n_ended(&sql), 1, "none is taken");
    sql.rows(&format!("GRANT INSERT ON pgtq.history TO {holder}"));
    wait_for_ended(&sql, 40);
    assert_completed_once(&sql, 40);
    runtime.block_on(engine.stop());
}

/// One ending is refused, the others are stored and more tasks are claimed; then it is
/// taken as it was.
#[track_caller]
fn assert_one_keeps_nobody_waiting(sqlstate: &str) {
    let (database, sql) = database();
    let runtime = Runtime::new().expect("a runtime starts");
    refuse(&sql, "NEW.handler = 'odd'", sqlstate);
    let engine = engine(&runtime, database.url());
    push(&sql, "odd", 1, "{}");
    push(&sql, "brief", 40, "{}");
    wait_for_ended(&sql, 40);
    push(&sql, "brief", 40, "{}");
    wait_for_ended(&sql, 80);
    assert_eq!(n_claimed(&sql), 1, "the odd one is kept");
    take_again(&sql);
    wait_for_ended(&sql, 81);
    assert_completed_once(&sql, 81);
    assert_eq!(n_claimed(&sql), 0);
    runtime.block_on(engine.stop());
}

#[test]
fn an_ending_that_the_database_refuses_is_kept_and_nobody_waits_for_it() {
    assert_one_keeps_nobody_waiting("23514");
}

#[test]
fn an_ending_that_makes_the_database_fail_is_kept_and_nobody_waits_for_it_for_long() {
    assert_one_keeps_nobody_waiting("XX000");
}
