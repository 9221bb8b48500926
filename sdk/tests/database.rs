//! Native tests of SQL, state, steps, clock and cancellation.

use std::cell::Cell;
use std::rc::Rc;
use std::time::SystemTime;

use pgtq_sdk::prelude::*;
use pgtq_sdk::sql::Rows;
use pgtq_sdk::{TestCtx, Verdict};

/// Adds up all orders, a page at a time.
#[handler(needs(sql))]
fn sum(ctx: &Ctx) -> Result<i64> {
    let mut done = ctx.state().load::<Progress>()?.unwrap_or_default();
    loop {
        let page: Vec<Order> = ctx
            .sql()
            .query(
                "SELECT id, amount FROM orders
                 WHERE id > $1 ORDER BY id LIMIT $2",
                (done.last, 2),
            )?
            .into_vec()?;
        let Some(newest) = page.last() else {
            return Ok(done.total);
        };
        done.last = newest.id;
        done.total += page.iter().map(|order| order.amount).sum::<i64>();
        ctx.sql().checkpoint(&done)?;
    }
}

#[data]
#[derive(Default, Debug, PartialEq)]
struct Progress {
    last: i64,
    total: i64,
}

#[data]
struct Order {
    id: i64,
    amount: i64,
}

/// Charges once, then records it.
#[handler(needs(sql))]
fn charge(ctx: &Ctx, fail: bool) -> Result<String> {
    let receipt: String = ctx.step("charge", || {
        info!("charging");
        Ok(format!("receipt {}", ctx.attempt()))
    })?;
    ctx.step("note", || {
        ctx.sql()
            .execute("INSERT INTO receipts VALUES ($1)", (&receipt,))
    })?;
    match fail {
        true => Err(retry!("the network is down")),
        false => Ok(receipt),
    }
}

#[handler(needs(sql))]
fn stubborn(ctx: &Ctx) -> bool {
    let sql = ctx.sql();
    let first = sql.execute("INSERT INTO t VALUES (1)", ());
    let second = sql.execute("INSERT INTO t VALUES (2)", ());
    let is_aborted = second.is_err_and(|error| error.code_text() == "sql:25P02");
    first.is_err() && is_aborted && sql.checkpoint(&1).is_err()
}

#[handler]
fn twice(ctx: &Ctx, first: &str, second: &str) -> Result<u8> {
    ctx.step(first, || Ok(1))?;
    ctx.step(second, || Ok(2))
}

/// A table of five orders of 10, 20, ...; the page after `broken` fails.
fn orders(broken: Rc<Cell<i64>>) -> TestCtx {
    Ctx::test().on_sql("FROM orders WHERE id > $1", move |statement| {
        let after = statement.params[0].as_i64().expect("a number");
        if after == broken.get() {
            return Err(retry!("the server is gone").code("unavailable"));
        }
        let ids = (after + 1..=5).take(2);
        Ok(Rows::of(
            ["id", "amount"],
            ids.map(|id| (id, id * 10)).collect::<Vec<_>>(),
        ))
    })
}

#[test]
fn a_retry_continues_from_the_checkpoint() {
    let broken = Rc::new(Cell::new(4));
    let ctx = orders(Rc::clone(&broken));
    let error = ctx.run("sum", json!([])).expect_err("the third page fails");
    assert_eq!(error.code_text(), "unavailable");
    let saved = Progress {
        last: 4,
        total: 100,
    };
    assert_eq!(ctx.saved::<Progress>(), Some(saved));
    broken.set(-1);
    ctx.next_attempt();
    assert_eq!(ctx.run("sum", json!([])), Ok(json!(150)));
    let firsts: Vec<Value> = ctx
        .statements()
        .iter()
        .map(|s| s.params[0].clone())
        .collect();
    assert_eq!(firsts, [0, 2, 4, 4, 5]);
}

#[test]
fn a_test_sets_the_state_of_an_earlier_attempt() {
    let ctx = orders(Rc::default()).state(Progress { last: 5, total: 7 });
    assert_eq!(ctx.run("sum", json!([])), Ok(json!(7)));
}

#[test]
fn a_new_task_starts_without_state() {
    let ctx = orders(Rc::new(Cell::new(-1)));
    assert_eq!(ctx.run("sum", json!([])), Ok(json!(150)));
    assert_eq!(
        ctx.saved::<Progress>()
            .expect("the last state stays readable")
            .last,
        5
    );
    assert_eq!(ctx.run("sum", json!([])), Ok(json!(150)));
    let statements = ctx.statements();
    let (first, second) = statements.split_at(statements.len() / 2);
    assert_eq!(first, second, "the second task repeats all statements");
}

#[test]
fn a_finished_step_runs_again_only_after_a_rollback_of_its_sql() {
    let ctx = Ctx::test().on_sql("INSERT INTO receipts", |_| Ok(Rows::affected_only(1)));
    ctx.run("charge", json!([true]))
        .expect_err("it fails after its steps");
    assert_eq!(
        ctx.step_result::<String>("charge").as_deref(),
        Some("receipt 1")
    );
    assert_eq!(ctx.step_result::<u64>("note"), None);
    ctx.next_attempt();
    let receipt = ctx.run("charge", json!([false]));
    assert_eq!(receipt, Ok(json!("receipt 1")), "from the first attempt");
    assert_eq!(ctx.step_result::<u64>("note"), Some(1));
    assert_eq!(ctx.logs().len(), 1, "charged once");
    assert_eq!(ctx.statements().len(), 2, "recorded again");
}

#[test]
fn a_failed_step_is_not_saved() {
    let ctx = Ctx::test();
    let error = ctx.step("a", || Err::<u8, _>(fatal!("no")));
    assert_eq!(error.expect_err("it fails").verdict(), Verdict::Fail);
    assert_eq!(ctx.step_result::<u8>("a"), None);
    ctx.next_attempt();
    assert_eq!(ctx.step("a", || Ok(3)), Ok(3));
    ctx.next_attempt();
    assert_eq!(
        ctx.step("a", || -> Result<u8> { panic!("the step ran again") }),
        Ok(3)
    );
}

#[test]
fn step_names_are_checked_before_the_work_runs() {
    let ctx = Ctx::test();
    for (first, second, message) in [
        (
            "pay",
            "pay",
            "step `pay` is used twice in one attempt: give each step a unique name, as in \
             `step(&format!(\"pay-{number}\"), ...)`",
        ),
        (
            "pay",
            "",
            "a step name has 1 to 128 bytes and no control characters, got ``",
        ),
        (
            "pay",
            "a\nb",
            "a step name has 1 to 128 bytes and no control characters, got `a\\nb`",
        ),
    ] {
        let error = ctx
            .run("twice", json!([first, second]))
            .expect_err("the second name is not valid");
        assert_eq!(
            (error.message(), error.code_text(), error.verdict()),
            (message, "invalid", Verdict::Fail)
        );
    }
    assert_eq!(ctx.run("twice", json!(["a", "b"])), Ok(json!(2)));
    assert!(ctx.run("twice", json!(["a", "b".repeat(129)])).is_err());
}

#[test]
fn state_saved_after_sql_is_in_the_same_transaction() {
    let ctx = Ctx::test().on_sql("", |_| Ok(Rows::affected_only(1)));
    let plain: &Ctx = &ctx;
    plain.state().save(&1).expect("it is saved at once");
    plain.sql().execute("INSERT", ()).expect("the fake matches");
    plain.state().save(&2).expect("it is saved with the insert");
    assert_eq!(plain.state().load(), Ok(Some(2)));
    ctx.next_attempt();
    assert_eq!(
        plain.state().load(),
        Ok(Some(1)),
        "the insert is rolled back"
    );
    plain.sql().execute("INSERT", ()).expect("the fake matches");
    plain.sql().checkpoint(&3).expect("it is committed");
    plain.state().save(&4).expect("no transaction is open");
    ctx.next_attempt();
    assert_eq!(plain.state().load(), Ok(Some(4)));
}

#[test]
fn a_state_of_another_type_is_an_error_with_both_types() {
    let ctx = Ctx::test().state("text");
    let plain: &Ctx = &ctx;
    let error = plain.state().load::<u8>().expect_err("it is a string");
    assert_eq!(
        (error.message(), error.code_text()),
        (
            "the saved state is not a `u8`: invalid type: string \"text\", expected u8 at line 1 \
             column 6",
            "state"
        )
    );
    let error = plain
        .state()
        .save(&"x".repeat(1 << 20))
        .expect_err("it exceeds the limit");
    assert_eq!(error.code_text(), "limit");
}

#[test]
fn parameters_are_tuples_arrays_slices_or_vecs() {
    let ctx = Ctx::test().on_sql("", |_| Ok(Rows::of(["one"], [(1,)])));
    let sql = ctx.sql();
    let one = |answer: Result<u64>| assert_eq!(answer, Ok(1));
    one(sql.execute("a", ()));
    one(sql.execute(
        "b",
        (1, "two", None::<u8>, Bytes::from("!"), json!({"k": [3]})),
    ));
    one(sql.execute("c", [1.5, 2.5]));
    one(sql.execute("d", vec!["x".to_owned()]));
    one(sql.execute("e", &[true][..]));
    one(sql.execute("f", (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)));
    let params: Vec<Value> = ctx
        .statements()
        .into_iter()
        .map(|s| s.params.into())
        .collect();
    assert_eq!(
        params[..5],
        [
            json!([]),
            json!([1, "two", null, "\\x21", {"k": [3]}]),
            json!([1.5, 2.5]),
            json!(["x"]),
            json!([true]),
        ]
    );
    assert_eq!(params[5].as_array().expect("a list").len(), 16);
}

#[test]
fn query_one_and_query_opt_check_the_number_of_rows() {
    let ctx = Ctx::test()
        .on_sql("none", |_| Ok(Rows::of(["id"], [(); 0])))
        .on_sql("one", |_| Ok(Rows::of(["id"], [(7,)])))
        .on_sql("two", |_| Ok(Rows::of(["id"], [(7,), (8,)])));
    let sql = ctx.sql();
    assert_eq!(
        sql.query_one("one", ()).and_then(|row| row.get("id")),
        Ok(7)
    );
    assert_eq!(sql.query_opt("none", ()), Ok(None));
    for (error, message) in [
        (
            sql.query_one("none", ()).map(|_| ()),
            "the statement returned 0 rows, expected exactly one",
        ),
        (
            sql.query_opt("two", ()).map(|_| ()),
            "the statement returned 2 rows, expected at most one",
        ),
    ] {
        let error = error.expect_err("the count is wrong");
        assert_eq!((error.message(), error.code_text()), (message, "rows"));
    }
}

#[test]
fn a_failed_statement_fails_the_attempt() {
    let ctx = Ctx::test().on_sql("(1)", |_| {
        Err(retry!("duplicate key value").code("sql:23505"))
    });
    let error = ctx
        .run("stubborn", json!([]))
        .expect_err("it cannot succeed");
    assert_eq!(ctx.statements().len(), 2);
    assert_eq!(error.code_text(), "sql:25P02");
    assert!(error.message().contains("ON CONFLICT"), "{error}");
    assert_eq!(ctx.saved::<u8>(), None);
    ctx.next_attempt();
    // A denied statement does not reach the transaction.
    let error = ctx.sql().execute("INSERT INTO t VALUES (2)", ());
    assert_eq!(
        error.expect_err("no fake matches").message(),
        "no fake matches `INSERT INTO t VALUES (2)`: add `.on_sql(\"part of the statement\", \
         |_| Ok(Rows::of([\"id\"], [(1,)])))` to the test"
    );
}

#[test]
fn time_advances_only_when_the_test_advances_it() {
    let start = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
    let ctx = Ctx::test().clock(start).remaining(secs(30)).cancelled(true);
    assert_eq!((ctx.now(), ctx.is_cancelled()), (start, true));
    ctx.advance(secs(20));
    assert_eq!(ctx.now(), start + secs(20));
    ctx.advance(secs(20));
    let plain: &Ctx = &ctx;
    assert_eq!(plain.remaining(), Duration::ZERO);
    assert!(!Ctx::test().is_cancelled());
}
