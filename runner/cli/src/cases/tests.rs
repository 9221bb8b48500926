//! The format of cases, recorded responses, differences, and updates that keep the rest of
//! the file.

use std::sync::Arc;

use serde_json::{Value, json};

use super::case::Case;
use super::check::check;
use super::fakes::{FakeSql, Fakes};
use super::observed::Observed;
use super::update::updated;
use crate::memory::Answers;
use pgtq_sandbox::{FakeHttp, FakeRequest};
use pgtq_task::Usage;

fn case(json: &str) -> Case {
    Case::read(json).unwrap_or_else(|error| panic!("{error}\n{json}"))
}

fn observed(facts: &Value) -> Observed {
    Observed {
        facts: facts.as_object().cloned().expect("an object"),
        loose_ends: Vec::new(),
        usage: Usage::default(),
    }
}

/// Differences as lines: where, expected, got.
fn differences(expect: &Value, facts: &Value) -> Vec<String> {
    let case = case(&json!({"handler": "x", "expect": expect}).to_string());
    let found = check(&case, &observed(facts));
    let lines = found
        .iter()
        .map(|d| format!("{}: {} / {}", d.at, d.expected, d.got));
    lines.collect()
}

#[test]
fn errors_in_a_case_name_the_position() {
    let errors: Vec<String> = [
        "",
        "{}",
        r#"{"handler": "not a name"}"#,
        r#"{"handler": "x", "arg": {}}"#,
        r#"{"handler": "x", "attempt": 0}"#,
        r#"{"handler": "x", "expect": {"results": 5}}"#,
        r#"{"handler": "x", "expect": {"nonsense": 5}}"#,
        r#"{"handler": "x", "http": [{"request": {"methud": "GET", "url": "a"}}]}"#,
        r#"{"handler": "x", "sql": [{"rows": []}]}"#,
    ]
    .iter()
    .map(|text| match Case::read(text) {
        Ok(_) => format!("accepted: {text}"),
        Err(error) => error,
    })
    .collect();
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn matching_outcomes_have_no_differences() {
    for (expect, facts) in [
        (
            json!({"result": {"a": [1, 2.5, null]}}),
            json!({"result": {"a": [1, 2.5, null]}}),
        ),
        (json!({"result": 5}), json!({"result": 5.0})),
        (
            json!({"result": {"ms": "{{any}}"}}),
            json!({"result": {"ms": 17}}),
        ),
        (
            json!({"error": {"message": "too"}}),
            json!({"error": {"kind": "error", "message": "too slow"}}),
        ),
        (
            json!({"error": "slow"}),
            json!({"error": {"message": "too slow"}}),
        ),
        (
            json!({"cancelled": "not"}),
            json!({"cancelled": "not needed"}),
        ),
        (
            json!({"result": 1, "logs": ["ab"]}),
            json!({"result": 1, "logs": ["info: x", "info: cabd"]}),
        ),
        (
            json!({"result": 1, "pushed": [{"handler": "y"}]}),
            json!({"result": 1, "pushed": [{"handler": "y", "args": {}}]}),
        ),
        (
            json!({"result": 1, "sql_statements": ["SELECT\n  1", {"params": [2]}]}),
            json!({"result": 1, "sql_statements": [
                {"statement": "SELECT 1", "params": []}, {"statement": "SELECT $1", "params": [2]},
            ]}),
        ),
        (
            json!({"result": 1, "files": {"/d/a": "x", "/d/b": null}}),
            json!({"result": 1, "files": {"/d/a": "x", "/d/c": "y"}}),
        ),
    ] {
        let found = differences(&expect, &facts);
        assert!(found.is_empty(), "{expect}: {found:?}");
    }
}

#[test]
fn every_difference_is_reported_with_its_path() {
    let reported: Vec<String> = [
        (
            json!({"result": {"a": [1, 2], "b": 1}}),
            json!({"result": {"a": [1, 3, 4], "c": 1}}),
        ),
        (
            json!({"result": "one\ntwo\nthree"}),
            json!({"result": "one\n2\nthree"}),
        ),
        (json!({"result": "x"}), json!({"error": {"message": "no"}})),
        (
            json!({"logs": []}),
            json!({"error": {"message": "no"}, "logs": []}),
        ),
        (
            json!({"error": {"message": "a", "kind": "panic", "koude": "x"}}),
            json!({"error": {"message": "b", "kind": "trap"}}),
        ),
        (
            json!({"result": 1, "logs": ["ab"]}),
            json!({"result": 1, "logs": ["info: x"]}),
        ),
        (
            json!({"result": 1, "pushed": []}),
            json!({"result": 1, "pushed": [{"handler": "y"}]}),
        ),
        (
            json!({"result": 1, "sql_statements": ["SELECT 2"]}),
            json!({"result": 1, "sql_statements": [{"statement": "SELECT 1", "params": []}]}),
        ),
        (
            json!({"result": 1, "state": {}}),
            json!({"result": 1, "state": {"": 5}}),
        ),
        (
            json!({"result": 1, "files": {"/a": null}}),
            json!({"result": 1, "files": {"/a": "x"}}),
        ),
        (json!({"result": "x".repeat(1_000)}), json!({"result": 7})),
        (json!({}), json!({"result": 7})),
    ]
    .into_iter()
    .flat_map(|(expect, facts)| differences(&expect, &facts))
    .collect();
    insta::assert_snapshot!(reported.join("\n"));
}

#[test]
fn many_differences_are_truncated() {
    let list: Vec<u32> = (0..10_000).collect();
    let found = differences(&json!({"result": list}), &json!({"result": []}));
    assert_eq!(found.len(), 20);
}

#[test]
fn loose_ends_fail_an_otherwise_matching_case() {
    let case = case(r#"{"handler": "x", "expect": {"result": 1}}"#);
    let mut happened = observed(&json!({"result": 1}));
    assert!(check(&case, &happened).is_empty());
    happened
        .loose_ends
        .push("the request GET a was not made".into());
    assert_eq!(check(&case, &happened).len(), 1);
}

fn request(method: &str, url: &str, body: &str) -> FakeRequest {
    FakeRequest {
        method: method.into(),
        url: url.into(),
        headers: vec![("authorization".into(), b"Bearer s3cret".to_vec())],
        body: body.as_bytes().to_vec(),
    }
}

#[test]
fn each_response_is_used_once_and_secrets_are_hidden() {
    let fakes = Fakes::default();
    fakes.begin(&case(
        r#"{"handler": "x", "secrets": {"key": "s3cret"}, "http": [
            {"request": {"url": "https://a/1"}, "response": {"status": 404, "body": "no"}},
            {"request": {"method": "post", "url": "https://a/*", "body": {"n": 1}}, "response": {"json": [1]}},
            {"request": {"url": "https://b/"}, "error": "connection refused"},
            {"request": {"url": "https://c/"}}]}"#,
    ));
    let answer = fakes
        .answer(request("GET", "https://a/1", ""))
        .expect("an answer");
    assert_eq!((answer.status, answer.body.as_slice()), (404, &b"no"[..]));
    let answer = fakes.answer(request("POST", "https://a/2?x=s3cret", r#"{ "n": 1 }"#));
    let answer = answer.expect("an answer");
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"[1]"[..]));
    assert_eq!(answer.headers[0].1, "application/json");
    let failed = fakes.answer(request("GET", "https://b/", ""));
    assert_eq!(failed, Err("connection refused".into()));
    let again = fakes.answer(request("GET", "https://a/1", ""));
    assert_eq!(
        again,
        Err("the case has no response for GET https://a/1".into())
    );

    let script = fakes.end();
    assert_eq!(script.unused(), ["the request GET https://c/ was not made"]);
    assert_eq!(
        script.unanswered,
        ["no response for the request GET https://a/1"]
    );
    assert_eq!(script.requests[1]["url"], "https://a/2?x={{secret:key}}");
    assert_eq!(
        script.requests[1]["headers"]["authorization"],
        "Bearer {{secret:key}}"
    );
}

#[test]
fn sql_results_follow_the_contract() {
    let fakes = Arc::new(Fakes::default());
    fakes.begin(&case(
        r#"{"handler": "x", "sql": [
            {"statement": "SELECT id,  name\n FROM t", "params": [7],
             "columns": ["id", {"name": "name", "type": "varchar"}], "rows": [[1, "a"], [2, null]]},
            {"statement": "SELECT *", "rows": [{"b": 1.5, "a": true}]},
            {"statement": "UPDATE t SET x = 1", "affected": 3},
            {"statement": "UPDATE t SET y = $1", "params": ["{{any}}"], "affected": 2},
            {"statement": "INSERT INTO t VALUES (1)", "error": {"code": "23505", "message": "twice"}}]}"#,
    ));
    let sql = FakeSql(Arc::clone(&fakes));
    let run = |statement: &str, params: &str| match sql.answer(statement, params) {
        Ok(text) => serde_json::from_str::<Value>(&text).expect("JSON"),
        Err(problem) => Value::from(format!("{}: {}", problem.code, problem.message)),
    };
    assert_eq!(
        run("SELECT id, name FROM t", "[7]"),
        json!({"columns": [{"name": "id", "type": "int8"}, {"name": "name", "type": "varchar"}],
            "rows": [[1, "a"], [2, null]], "affected": 2})
    );
    assert_eq!(
        run("SELECT a, b FROM u", "[]"),
        json!({"columns": [{"name": "a", "type": "bool"}, {"name": "b", "type": "float8"}],
            "rows": [[true, 1.5]], "affected": 1})
    );
    assert_eq!(run("UPDATE t SET x = 1", "[]")["affected"], 3);
    assert_eq!(run("UPDATE t SET y = $1", "[\"now\"]")["affected"], 2);
    assert_eq!(run("INSERT INTO t VALUES (1)", "[]"), "sql:23505: twice");
    assert_eq!(
        run("DELETE FROM t", "[1]"),
        "unavailable: the case has no response for DELETE FROM t with [1]"
    );
}

#[test]
fn an_update_leaves_the_rest_of_the_file_as_it_was() {
    let facts = json!({"result": 5, "logs": ["info: x"], "pushed": [], "state": {}, "files": {},
        "http_requests": [], "sql_statements": []});
    let check = |before: &str| {
        let text = updated(before, &case(before), &observed(&facts)).expect("it is updated");
        assert!(
            super::check::check(&case(&text), &observed(&facts)).is_empty(),
            "{text}"
        );
        text
    };
    assert_eq!(
        check(
            "{\"handler\":   \"x\", \"expect\": {\"result\": 4, \"logs\": [\"y\"]}, \"args\": [1,\n2]}\n"
        ),
        "{\"handler\":   \"x\", \"expect\": {\n    \"result\": 5,\n    \"logs\": [\n      \"info: x\"\n    ]\n  }, \"args\": [1,\n2]}\n"
    );
    assert_eq!(
        check("{\n  \"handler\": \"x\"\n}\n"),
        "{\n  \"handler\": \"x\",\n  \"expect\": {\n    \"result\": 5\n  }\n}\n"
    );
}

#[test]
fn an_update_writes_only_the_actual_outcome() {
    let text = r#"{"handler": "x", "state": {"": 1}, "files": {"/d/a": "1", "/d/b": "2"}}"#;
    let facts = json!({
        "error": {"message": "boom\n  at x", "kind": "panic", "retry": true}, "pushed": [],
        "logs": ["info: x"], "state": {"": 2}, "files": {"/d/a": "1", "/d/c": "3"},
        "http_requests": [{"method": "GET", "url": "https://a", "body": "",
            "headers": {"user-agent": "z", "authorization": "Bearer {{secret:key}}"}}],
        "sql_statements": [],
    });
    let text = updated(text, &case(text), &observed(&facts)).expect("it is updated");
    insta::assert_snapshot!(text);
}
