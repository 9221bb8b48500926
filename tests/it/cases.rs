//! `pgtq test` with real plugin files.

use std::fs;
use std::path::Path;

use pgtq_tests::{Finished, plugin, program, repository};
use serde_json::Value;

/// Runs `pgtq test` for a file, without a database.
fn test(file: &Path, cases: &Path, more: &[&str]) -> Finished {
    let (file, cases) = (file.display().to_string(), cases.display().to_string());
    let all = [&["test", &file, "--cases", &cases], more].concat();
    pgtq_tests::cli("", &all, "")
}

/// A directory of cases.
fn cases(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory is created");
    for (name, text) in files {
        fs::write(dir.path().join(format!("{name}.json")), text).expect("a case is written");
    }
    dir
}

/// The case and the result of each line.
fn results(finished: &Finished) -> Vec<String> {
    let lines = finished.stdout.lines();
    lines
        .map(|line| line.split('\t').take(2).collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn the_cases_of_hello_pass_from_its_crate() {
    let output = program()
        .args(["test", "plugins/hello"])
        .current_dir(repository())
        .output()
        .expect("pgtq starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let ok: Vec<&str> = stdout
        .lines()
        .map(|line| line.split('\t').next().unwrap_or(""))
        .collect();
    assert_eq!(ok, ["adds", "greets"]);
}

#[test]
fn a_failed_case_is_shown_and_updated_on_request() {
    let hello = plugin("hello");
    let dir = cases(&[
        (
            "bad",
            r#"{"handler": "add_numbers", "args": [2, 3], "expect": {"result": 6}}"#,
        ),
        (
            "broken",
            r#"{"handler": "add_numbers", "args": [2, 3], "expects": {}}"#,
        ),
        (
            "good",
            r#"{"handler": "add_numbers", "args": [2, 3], "expect": {"result": 5}}"#,
        ),
        (
            "missing",
            r#"{"handler": "add_number", "expect": {"result": 5}}"#,
        ),
        ("wrong", r#"{"handler": "add_numbers", "args": ["a"]}"#),
    ]);
    let failed = test(&hello, dir.path(), &[]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert_eq!(
        results(&failed),
        [
            "bad failed",
            "broken failed",
            "good ok",
            "missing failed",
            "wrong failed"
        ]
    );
    let output = failed
        .stderr
        .replace(&dir.path().display().to_string(), "DIR");
    insta::assert_snapshot!(output);

    let updated = test(&hello, dir.path(), &["--update", "--only", "r"]);
    assert_eq!(results(&updated), ["broken failed", "wrong updated"]);
    let wrong = fs::read_to_string(dir.path().join("wrong.json")).expect("it is there");
    insta::assert_snapshot!(wrong);
    let again = test(&hello, dir.path(), &["--only", "wrong"]);
    assert_eq!(again.code, Some(0), "{again:?}");
}

#[test]
fn without_a_case_the_status_says_so() {
    let dir = cases(&[]);
    let none = test(&plugin("hello"), dir.path(), &[]);
    assert_eq!(none.code, Some(3), "{none:?}");
    assert!(none.stderr.contains("no cases found in"), "{none:?}");
    let gone = test(Path::new("no-such-thing"), dir.path(), &[]);
    assert_eq!(gone.code, Some(3), "{gone:?}");
}

#[test]
fn json_lists_every_case_with_cost_and_differences() {
    let dir = cases(&[(
        "bad",
        r#"{"handler": "add_numbers", "args": [2, 3], "expect": {"result": 6}}"#,
    )]);
    let finished = test(&plugin("hello"), dir.path(), &["--json"]);
    assert_eq!(finished.code, Some(1));
    let json: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    assert_eq!(json["schema"], "pgtq.cases/v1");
    let case = &json["cases"][0];
    assert_eq!(
        (&case["case"], &case["result"]),
        (&"bad".into(), &"failed".into())
    );
    assert!(case["fuel"].as_u64() > Some(1_000), "{case}");
    assert_eq!(case["differences"][0]["at"], "result");
    assert_eq!(case["differences"][0]["expected"], "6");
    assert_eq!(case["differences"][0]["got"], "5");
}

const DELIVER: &str = r#""handler": "deliver", "secrets": {"webhook_signing": "a signing key"},
    "args": {"url": "https://hooks.example.com/in", "event": "order.paid", "body": {"order": 7}}"#;

#[test]
fn a_case_fakes_responses_and_contains_no_secrets() {
    let exchange = |answer: &str| {
        format!(
            r#"{{{DELIVER}, "http": [{{"request": {{"method": "POST",
                "url": "https://hooks.example.com/in", "body": {{"order": 7}}}}, {answer}}}],"#
        )
    };
    let ok = exchange(r#""response": {"status": 204}"#)
        + r#" "expect": {"result": {"status": 204, "milliseconds": "{{any}}"},
             "http_requests": [{"headers": {"x-webhook-event": "order.paid", "x-webhook-id": "pgtq:1"}}]}}"#;
    let busy = exchange(r#""response": {"status": 503, "headers": {"retry-after": "60"}}"#)
        + r#" "expect": {"error": {"code": "http:503", "retry": true, "after_ms": 60000}}}"#;
    let gone =
        exchange(r#""error": "connection refused""#) + r#" "expect": {"error": {"retry": true}}}"#;
    let denied = format!(
        r#"{{{DELIVER}, "refuse": ["http"], "expect": {{"error": {{"code": "denied"}}}}}}"#
    );
    let secret = format!(
        r#"{{{DELIVER}, "refuse": ["webhook_signing"], "expect": {{"error": {{"code": "denied"}}}}}}"#
    );
    let extra = format!(r#"{{{DELIVER}, "expect": {{"error": {{"retry": true}}}}}}"#);
    let unasked = format!(r#"{{{DELIVER}, "refuse": ["sql"], "expect": {{"result": 1}}}}"#);
    let dir = cases(&[
        ("busy", &busy),
        ("denied", &denied),
        ("extra", &extra),
        ("gone", &gone),
        ("ok", &ok),
        ("secret", &secret),
        ("unasked", &unasked),
    ]);
    let finished = test(&plugin("webhook"), dir.path(), &[]);
    assert_eq!(
        results(&finished),
        [
            "busy ok",
            "denied ok",
            "extra failed",
            "gone ok",
            "ok ok",
            "secret ok",
            "unasked failed"
        ],
        "{}",
        finished.stderr
    );
    let output = &finished.stderr;
    assert!(
        output.contains("no response for the request POST https://hooks.example.com/in"),
        "{output}"
    );
    assert!(
        output.contains("`refuse` names `sql`, but the handler requests: http POST"),
        "{output}"
    );
    assert!(!output.contains("a signing key"), "{output}");
}

/// Two pages of orders: SQL, saved state and file are recorded, and match in a second run.
#[test]
fn a_case_has_its_own_sql_state_and_files() {
    let order = |id: i64, product: &str| {
        format!(r#"{{"id": {id}, "product": "{product}", "quantity": 1, "cents": 250}}"#)
    };
    let text = format!(
        r#"{{
  "handler": "order_report",
  "args": {{"file": "may.csv"}},
  "files": {{"/reports/april.csv": "old"}},
  "sql": [
    {{"statement": "SELECT count(*) FROM orders *", "rows": [[2]]}},
    {{"statement": "SELECT id, *", "rows": [{}, {}]}},
    {{"statement": "INSERT INTO report_lines *", "affected": 2}},
    {{"statement": "SELECT id, *", "rows": []}},
    {{"statement": "SELECT *", "rows": [
      {{"product": "ink", "orders": 1, "quantity": 1, "cents": 250}},
      {{"product": "pen", "orders": 1, "quantity": 1, "cents": 250}}]}}
  ]
}}
"#,
        order(1, "pen"),
        order(2, "ink")
    );
    let dir = cases(&[("report", &text)]);
    let report = plugin("report");
    let first = test(&report, dir.path(), &["--update"]);
    let case = fs::read_to_string(dir.path().join("report.json")).expect("it is there");
    assert_eq!(results(&first), ["report updated"], "{first:?}\n{case}");
    assert!(
        case.starts_with(text.trim_end().trim_end_matches('}').trim_end()),
        "{case}"
    );
    let expect = case.split("\n  \"expect\": ").nth(1).unwrap_or_default();
    insta::assert_snapshot!(expect);
    let again = test(&report, dir.path(), &[]);
    assert_eq!(results(&again), ["report ok"], "{again:?}");

    // Another order and sum: each difference is listed.
    let changed = case.replace("\"cents\": 250}", "\"cents\": 300}");
    fs::write(dir.path().join("report.json"), changed).expect("it is written");
    let differs = test(&report, dir.path(), &[]);
    assert_eq!(differs.code, Some(1));
    assert!(
        differs.stderr.contains("files /reports/may.csv line 2"),
        "{}",
        differs.stderr
    );
}

/// In a case all declared needs are granted, unless the case denies them.
#[test]
fn pushes_of_a_case_are_granted_as_declared_and_denied_on_request() {
    let case = |args: &str, more: &str, expect: &str| {
        format!(
            r#"{{"handler": "flaky.push_to", "args": {{"handler": {args}, "args": [2, 3]}}, {more} "expect": {expect}}}"#
        )
    };
    let urgent = r#""add_numbers", "queue": "urgent", "priority": -10"#;
    let denied = r#"{"error": {"code": "denied", "message": "denied push add_numbers"}}"#;
    let pushed = r#"{"pushed": [{"handler": "add_numbers", "queue": "urgent", "priority": -10}]}"#;
    let unasked = r#"{"error": {"code": "denied", "message": "denied push greet"}}"#;
    let files = [
        ("asked", case(urgent, "", pushed)),
        ("unasked", case(r#""greet""#, "", unasked)),
        ("refused", case(urgent, r#""refuse": ["push"],"#, denied)),
        (
            "rule",
            case(
                urgent,
                r#""refuse": ["add_numbers queue=urgent priority=-10"],"#,
                denied,
            ),
        ),
        ("slip", case(urgent, r#""refuse": ["http"],"#, pushed)),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(n, text)| (*n, text.as_str())).collect();
    let dir = cases(&files);
    let finished = test(&plugin("flaky"), dir.path(), &[]);
    assert_eq!(
        results(&finished),
        [
            "asked ok",
            "refused ok",
            "rule ok",
            "slip failed",
            "unasked ok"
        ],
        "{finished:?}"
    );
    let known = "the handler requests: push add_numbers queue=urgent priority=-10; write http, tcp, sql, secrets, files, push";
    assert!(finished.stderr.contains(known), "{finished:?}");
}
