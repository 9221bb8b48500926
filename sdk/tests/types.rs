//! Types of other crates, and bytes, as arguments and results.

use pgtq_sdk::prelude::*;
use pgtq_sdk::{chrono, jiff, uuid};

#[handler]
fn invoice(
    id: uuid::Uuid,
    due: jiff::Timestamp,
    day: Option<jiff::civil::Date>,
    paid: Option<chrono::DateTime<chrono::Utc>>,
) -> Invoice {
    Invoice { id, due, day, paid }
}

#[data]
#[derive(Debug, PartialEq)]
struct Invoice {
    id: uuid::Uuid,
    due: jiff::Timestamp,
    day: Option<jiff::civil::Date>,
    paid: Option<chrono::DateTime<chrono::Utc>>,
}

#[handler]
fn reversed(
    /// The bytes to reverse.
    mut bytes: Bytes,
    #[default(Bytes::from(*b"!"))] end: Bytes,
) -> Bytes {
    bytes.0.reverse();
    bytes.0.extend(end.0);
    bytes
}

fn schema(handler: &str) -> Value {
    let manifest = Ctx::test().manifest();
    let all = manifest["handlers"].as_array().expect("a list");
    let found = all.iter().find(|info| info["name"] == handler);
    found.expect("described")["arguments"]["properties"].clone()
}

#[test]
fn ids_and_times_of_other_crates_are_arguments_and_results() {
    let ctx = Ctx::test();
    let args = json!({
        "id": "67e55044-10b1-426f-9247-bb680e5fe0c8",
        "due": "2026-11-30T10:00:00Z",
        "day": "2026-12-01",
        "paid": "2026-11-30T10:00:00Z",
    });
    assert_eq!(ctx.run("invoice", &args), Ok(args));
    assert_eq!(
        schema("invoice"),
        json!({
            "id": {"type": "string", "format": "uuid"},
            "due": {"type": "string", "format": "date-time"},
            "day": {"type": ["string", "null"], "format": "date"},
            "paid": {"type": ["string", "null"], "format": "date-time"},
        })
    );
    let error = ctx
        .run("invoice", json!(["x", "2026-11-30T10:00:00Z"]))
        .expect_err("x is not a UUID");
    assert!(
        error
            .message()
            .starts_with("argument `id`: expected `uuid::Uuid`, found a string \"x\""),
        "{error}"
    );
    invoice::push(uuid::Uuid::nil(), jiff::Timestamp::UNIX_EPOCH, None, None)
        .expect("the push is accepted");
    assert_eq!(
        ctx.pushed("invoice")[0].payload["due"],
        "1970-01-01T00:00:00Z"
    );
}

#[test]
fn bytes_are_base64_in_arguments_results_pushes_and_schemas() {
    let ctx = Ctx::test();
    assert_eq!(
        ctx.run("reversed", json!({"bytes": "AAEC"})),
        Ok(json!("AgEAIQ=="))
    );
    assert_eq!(
        schema("reversed"),
        json!({
            "bytes": {"type": "string", "contentEncoding": "base64", "description": "The bytes to reverse."},
            "end": {"type": "string", "contentEncoding": "base64", "default": "IQ=="},
        })
    );
    reversed::push(Bytes::from([255]), Bytes::default()).expect("the push is accepted");
    assert_eq!(
        ctx.pushed("reversed")[0].payload,
        json!({"bytes": "/w==", "end": ""})
    );
    let error = ctx
        .run("reversed", json!(["not base64"]))
        .expect_err("not base64");
    assert_eq!(
        error.message(),
        "argument `bytes`: expected `Bytes`, found a string \"not base64\" \
         (invalid value: string \"not base64\", expected bytes as base64)"
    );
}
