//! Native tests of handlers: arguments, results, errors, pushes, the manifest.

use std::collections::BTreeMap;

use pgtq_sdk::prelude::*;
use pgtq_sdk::{Level, Retries, Verdict};

/// Add two numbers.
#[handler(retries = 5, timeout = 30s, memory = 64MiB, fuel = 1_000_000)]
fn add_numbers(a: i64, b: i64) -> i64 {
    a + b
}

/// Send a letter.
///
/// It is sent by post.
#[handler(name = "mail.send", queue = "mail", priority = -5, backoff = exponential(10s..1h),
          needs(push = "elsewhere"))]
fn send(
    ctx: &Ctx,
    /// The recipient.
    to: String,
    subject: &str,
    note: Option<String>,
    #[default(1)] copies: u32,
) -> Result<Letter> {
    info!(copies = copies, to = to, "writing to {to}");
    drop(to);
    ctx.progress(0.5, "written");
    add_numbers::task(2, 3).delay(secs(60)).key("once").push()?;
    ctx.push("elsewhere", json!([1]))?;
    Ok(Letter {
        subject: subject.to_owned(),
        note,
        copies,
        attempt: ctx.attempt(),
    })
}

/// A letter.
#[data]
#[derive(Debug, PartialEq)]
struct Letter {
    subject: String,
    note: Option<String>,
    copies: u32,
    attempt: u32,
}

#[handler(extra = allow)]
fn lenient(r#type: Option<String>) -> Option<String> {
    r#type
}

#[handler]
fn amount(amount: i64) -> i64 {
    amount
}

#[handler(retries = forever)]
fn whole(Json(numbers): Json<BTreeMap<String, i64>>) -> i64 {
    numbers.values().sum()
}

#[handler]
fn parse(text: &str) -> std::result::Result<i64, std::num::ParseIntError> {
    text.parse()
}

type Outcome = Result<u8>;

#[handler]
fn aliased(ok: bool) -> Outcome {
    if ok { Ok(1) } else { Err(fatal!("not ok")) }
}

#[handler]
fn nothing() {}

mod elsewhere {
    use super::*;

    #[handler]
    pub(super) fn increment(a: u8) -> u8 {
        a + 1
    }
}

#[test]
fn a_handler_is_callable_as_an_ordinary_function() {
    assert_eq!(add_numbers(2, 3), 5);
    assert_eq!(add_numbers::NAME, "add_numbers");
    assert_eq!(whole(Json(BTreeMap::from([("a".to_owned(), 2)]))), 2);
    assert_eq!(elsewhere::increment(1), 2);
}

#[test]
fn a_test_context_records_logs_progress_and_pushes() {
    let ctx = Ctx::test().attempt(2).queue("mail").id(9);
    let letter = send(&ctx, "Ada".to_owned(), "engine", None, 1).expect("the push is accepted");
    assert_eq!(letter.attempt, 2);
    assert_eq!(
        (ctx.logs()[0].level, ctx.logs()[0].message.as_str()),
        (Level::Info, "writing to Ada")
    );
    assert_eq!(ctx.logs()[0].fields, json!({"copies": 1, "to": "Ada"}));
    assert_eq!(ctx.progress_reports(), [(0.5, "written".to_owned())]);
    let child = &ctx.pushed("add_numbers")[0];
    assert_eq!(child.payload, json!({"a": 2, "b": 3}));
    assert_eq!(
        (child.delay, child.key.as_deref()),
        (Some(secs(60)), Some("once"))
    );
    assert_eq!(ctx.pushed("elsewhere")[0].payload, json!([1]));
}

#[test]
fn a_typed_push_uses_the_declared_defaults() {
    let ctx = Ctx::test();
    send::push("Ada", "engine", None, 2).expect("the push is accepted");
    send::task("Bob", "loom", Some("soon".into()), 1)
        .queue("night")
        .priority(3)
        .retry_forever()
        .push()
        .expect("the push is accepted");
    let [first, second] = &ctx.pushed("mail.send")[..] else {
        panic!("two tasks were pushed");
    };
    assert_eq!(
        (first.queue.as_deref(), first.priority),
        (Some("mail"), Some(-5))
    );
    assert_eq!(first.payload["copies"], 2);
    assert_eq!(
        (second.queue.as_deref(), second.priority),
        (Some("night"), Some(3))
    );
    assert_eq!(second.retries, Some(Retries::Forever));
    assert_eq!(second.payload["note"], "soon");
}

#[test]
fn a_push_without_a_running_handler_is_an_error() {
    let error = add_numbers::push(1, 2).expect_err("there is no context");
    assert!(error.message().contains("Ctx::test()"), "{error}");
}

#[test]
fn arguments_are_named_positional_optional_or_defaulted() {
    let ctx = Ctx::test();
    let named = ctx.run("mail.send", json!({"to": "Ada", "subject": "engine"}));
    assert_eq!(
        named,
        Ok(json!({"subject": "engine", "note": null, "copies": 1, "attempt": 1}))
    );
    let positional = ctx.run("mail.send", json!(["Ada", "engine", "soon", 3]));
    assert_eq!(positional.expect("an array is accepted")["copies"], 3);
    assert_eq!(
        ctx.run("lenient", json!({"type": "x", "more": 1})),
        Ok(json!("x"))
    );
    assert_eq!(ctx.run("whole", json!({"a": 1, "b": 2})), Ok(json!(3)));
    assert_eq!(ctx.run("nothing", json!(null)), Ok(json!(null)));
    assert_eq!(ctx.run("aliased", json!([true])), Ok(json!(1)));
}

#[test]
fn errors_in_arguments_name_the_argument_and_the_type() {
    let ctx = Ctx::test();
    for (handler, args, message) in [
        (
            "add_numbers",
            json!({"a": 2}),
            "argument `b` is missing, expected `i64`",
        ),
        (
            "add_numbers",
            json!([1, "x"]),
            "argument `b`: expected `i64`, found a string \"x\" (invalid type: string \"x\", expected i64)",
        ),
        (
            "nothing",
            json!({"a": 1}),
            "unknown argument `a`: the handler takes no arguments",
        ),
        (
            "whole",
            json!([1]),
            "the arguments are not a valid `BTreeMap<String, i64>`: invalid type: sequence, expected a map at line 1 column 0",
        ),
    ] {
        let error = ctx
            .run(handler, args)
            .expect_err("these arguments are wrong");
        assert_eq!((error.code_text(), error.message()), ("arguments", message));
        assert_eq!(
            error.verdict(),
            Verdict::Fail,
            "a retry would fail the same way"
        );
    }
}

#[test]
fn errors_of_any_type_become_errors_of_the_attempt() {
    let ctx = Ctx::test();
    let error = ctx
        .run("parse", json!(["x"]))
        .expect_err("x is not a number");
    assert_eq!(error.verdict(), Verdict::Retry);
    let error = ctx
        .run("aliased", json!([false]))
        .expect_err("it is not ok");
    assert_eq!(error.verdict(), Verdict::Fail);
    let error = ctx
        .run("absent", json!([]))
        .expect_err("there is no such handler");
    assert_eq!(error.message(), "this plugin has no handler `absent`");
}

#[handler(needs(push = "mail.*"))]
fn forward(handler: String, queue: Option<String>, priority: Option<i32>) -> Result<()> {
    let mut task = Task::new(handler, json!({}));
    if let Some(queue) = queue {
        task = task.queue(queue);
    }
    if let Some(priority) = priority {
        task = task.priority(priority);
    }
    task.push()
}

#[test]
fn an_undeclared_push_to_another_plugin_is_denied() {
    for (args, rule) in [
        (json!(["nothing"]), None),
        (json!(["nothing", null, 3]), None),
        (json!(["mail.send"]), None),
        (json!(["mail.read"]), None),
        (json!(["elsewhere.read"]), Some("elsewhere.read")),
        (json!(["mail"]), Some("mail")),
        (json!(["mail.read", "bulk"]), Some("mail.read queue=bulk")),
        (
            json!(["mail.send", "bulk"]),
            Some("mail.send queue=bulk priority=-5"),
        ),
        (json!(["nothing", null, -1]), Some("nothing priority=-1")),
    ] {
        let ran = Ctx::test().run("forward", &args);
        let error = ran
            .as_ref()
            .err()
            .map(|error| (error.code_text(), error.message()));
        let expected = rule.map(|rule| {
            format!("denied push {rule}: the handler does not ask for it: write #[handler(needs(push = \"{rule}\"))]")
        });
        assert_eq!(
            error.map(|(_, message)| message),
            expected.as_deref(),
            "{args}"
        );
        assert_eq!(
            error.map(|(code, _)| code),
            rule.map(|_| "denied"),
            "{args}"
        );
    }
    let ctx = Ctx::test();
    ctx.run("forward", json!(["mail.send"]))
        .expect("the push is declared");
    let pushed = &ctx.pushed("mail.send")[0];
    assert_eq!(
        (pushed.queue.as_deref(), pushed.priority),
        (Some("mail"), Some(-5))
    );
}

#[test]
fn the_manifest_describes_every_handler() {
    let manifest = Ctx::test().manifest();
    assert_eq!(manifest["contract"], "1.0.0");
    assert_eq!(
        manifest["plugin"],
        json!({"name": "pgtq-sdk", "version": "0.1.0"})
    );
    let all = manifest["handlers"].as_array().expect("a list");
    let info = |name: &str| {
        all.iter()
            .find(|info| info["name"] == name)
            .expect("described")
    };
    assert_eq!(
        info("mail.send"),
        &json!({
            "name": "mail.send",
            "description": "Send a letter.",
            "docs": "It is sent by post.",
            "positional": ["to", "subject", "note", "copies"],
            "limits": {},
            "retry": {"backoff": {"first_ms": 10_000, "max_ms": 3_600_000}},
            "arguments": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": {
                    "to": {"type": "string", "description": "The recipient."},
                    "subject": {"type": "string"},
                    "note": {"type": ["string", "null"]},
                    "copies": {"type": "integer", "format": "uint32", "minimum": 0, "default": 1},
                },
                "required": ["to", "subject"],
                "additionalProperties": false,
            },
            // Declaring a priority below 0 declares the need for it.
            "needs": {"push": ["elsewhere", "mail.send priority=-5"]},
            "push": {"queue": "mail", "priority": -5},
        })
    );
    assert_eq!(
        info("add_numbers")["limits"],
        json!({"fuel": 1_000_000, "timeout_ms": 30_000, "memory": 64 << 20})
    );
    assert_eq!(info("add_numbers")["retry"], json!({"retries": 5}));
    assert_eq!(info("whole")["retry"], json!({"retries": "forever"}));
    assert_eq!(info("whole")["positional"], json!([]));
    assert_eq!(info("lenient")["arguments"]["additionalProperties"], true);
}

#[test]
fn a_parameter_may_have_the_name_of_its_handler() {
    assert_eq!(amount(7), 7);
    let result = Ctx::test().run("amount", json!({"amount": 7}));
    assert_eq!(result, Ok(json!(7)));
}
