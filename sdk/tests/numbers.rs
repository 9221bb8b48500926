//! NaN and infinities in everything that a handler writes as JSON.

use std::collections::BTreeMap;

use pgtq_sdk::Reply;
use pgtq_sdk::prelude::*;
use pgtq_sdk::sql::Rows;

#[data]
#[derive(Debug, Clone, Default)]
struct Rates {
    all: Vec<f32>,
    by_name: BTreeMap<String, Option<f64>>,
}

fn rates(of: f64) -> Rates {
    Rates {
        all: vec![0.5],
        by_name: BTreeMap::from([("mean".to_owned(), Some(of))]),
    }
}

#[handler]
fn ratio(part: f64, whole: f64) -> f64 {
    part / whole
}

#[handler]
fn nested(whole: f64) -> Result<Rates> {
    Ok(rates(1.0 / whole))
}

#[handler]
fn literal(whole: f64) -> Value {
    json!({ "rates": [1.0 / whole] })
}

#[handler(needs(sql, http = "https://*"))]
fn write_nan(ctx: &Ctx, way: &str) -> Result<()> {
    let bad = rates(f64::NAN);
    match way {
        "typed push" => nested_task(&bad),
        "push" => ctx.push("elsewhere", [bad]),
        "state" => ctx.state().save(&bad),
        "step" => ctx.step("mean", || Ok(bad.clone())).map(drop),
        "checkpoint" => ctx.sql().checkpoint(&bad),
        "tuple" => ctx.sql().execute("UPDATE", (1, f32::INFINITY)).map(drop),
        "array" => ctx.sql().execute("UPDATE", [0.0, f64::NAN]).map(drop),
        "jsonb" => ctx.sql().execute("UPDATE", (1, &bad)).map(drop),
        "body" => ctx
            .http()
            .post("https://a.example/")
            .json(&bad)
            .send()
            .map(drop),
        other => Err(fatal!("unknown case {other}")),
    }
}

#[handler]
fn takes_rates(count: u8, rates: Rates) -> usize {
    let Rates { all, .. } = rates;
    all.len() + usize::from(count)
}

fn nested_task(bad: &Rates) -> Result<()> {
    takes_rates::push(1, bad.clone())
}

fn test() -> pgtq_sdk::TestCtx {
    Ctx::test()
        .on_sql("", |_| Ok(Rows::affected_only(1)))
        .on_http("*", "https://*", |_| Ok(Reply::status(200)))
}

#[test]
fn nan_in_a_result_is_an_error_with_its_place() {
    let ctx = test();
    assert_eq!(ctx.run("ratio", json!([1, 2])), Ok(json!(0.5)));
    for (handler, args, message) in [
        ("ratio", json!([0, 0]), "NaN is not a JSON number"),
        ("ratio", json!([-1, 0]), "-infinity is not a JSON number"),
        (
            "nested",
            json!([0]),
            "`by_name.mean` is infinity, which is not a JSON number",
        ),
    ] {
        let error = ctx.run(handler, args).expect_err("not a JSON number");
        let expected = format!("the result cannot be written as JSON: {message}");
        assert_eq!((error.message(), error.code_text()), (&*expected, "json"));
    }
}

#[test]
#[should_panic(expected = "json!: infinity is not a JSON number")]
fn the_macro_json_panics_at_infinity() {
    let _ = test().run("literal", json!([0]));
}

#[test]
fn nan_is_rejected_before_a_push_statement_request_or_save() {
    const MEAN: &str = "`by_name.mean` is NaN, which is not a JSON number";
    for (way, message) in [
        ("typed push", format!("push of `takes_rates`: argument `rates`: {MEAN}")),
        ("push", "push of `elsewhere`: the payload: `[0].by_name.mean` is NaN, which is not a JSON number".to_owned()),
        ("state", format!("the state: {MEAN}")),
        ("step", format!("the result of step `mean`: {MEAN}")),
        ("checkpoint", format!("the state: {MEAN}")),
        ("tuple", "`$2` is infinity, which is not a JSON number".to_owned()),
        ("array", "`$2` is NaN, which is not a JSON number".to_owned()),
        ("jsonb", "`$2.by_name.mean` is NaN, which is not a JSON number".to_owned()),
        ("body", format!("the body: {MEAN}")),
    ] {
        let ctx = test();
        let error = ctx.run("write_nan", json!([way])).expect_err(way);
        assert_eq!((error.message(), error.code_text()), (&*message, "json"), "{way}");
        assert!(ctx.all_pushed().is_empty(), "{way}");
        assert!(ctx.statements().is_empty(), "{way}");
        assert!(ctx.requests().is_empty(), "{way}");
        assert_eq!(ctx.saved::<Value>(), None, "{way}");
        assert_eq!(ctx.step_result::<Value>("mean"), None, "{way}");
    }
}

#[test]
fn a_log_field_shows_nan_as_a_string() {
    let ctx = test();
    info!(
        mean = f64::NAN,
        low = f32::NEG_INFINITY,
        high = 2.5,
        "rates"
    );
    assert_eq!(
        ctx.logs()[0].fields,
        json!({"mean": "NaN", "low": "-infinity", "high": 2.5})
    );
}
