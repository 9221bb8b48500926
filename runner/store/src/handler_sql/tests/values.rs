//! Values sent to Postgres and read back.

use crate::handler_sql::tests::fixture::*;

#[tokio::test]
async fn every_readable_type_becomes_json() {
    let fixture = Fixture::new().await;
    let types = format!(
        "CREATE TYPE {0}.mood AS ENUM ('good', 'bad'); CREATE DOMAIN {0}.age AS int",
        fixture.theirs
    );
    fixture.sql.batch_execute(&types).await.expect("types");
    for (expression, wanted) in [
        ("true", "true"),
        ("null::text", "null"),
        ("7::int2", "7"),
        ("-7::int4", "-7"),
        ("9223372036854775807", "9223372036854775807"),
        ("42::oid", "42"),
        ("1.5::float4", "1.5"),
        ("0.1::float8", "0.1"),
        ("'NaN'::float8", "\"NaN\""),
        ("'-infinity'::float4", "\"-Infinity\""),
        ("12345678901234567890.0100", "\"12345678901234567890.0100\""),
        ("-0.00001", "\"-0.00001\""),
        ("'NaN'::numeric", "\"NaN\""),
        ("'a\"b'::text", "\"a\\\"b\""),
        ("'ab'::char(4)", "\"ab  \""),
        ("'x'::\"char\"", "\"x\""),
        ("'n'::name", "\"n\""),
        ("'{\"a\": [1]}'::json", "{\"a\":[1]}"),
        ("'{\"a\": [1.50]}'::jsonb", "{\"a\":[1.5]}"),
        ("'\\x6869'::bytea", "\"\\\\x6869\""),
        (
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid",
            "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"",
        ),
        ("date '2026-02-28'", "\"2026-02-28\""),
        ("time '12:30:00.25'", "\"12:30:00.25\""),
        ("timestamp '2026-02-28 12:30'", "\"2026-02-28T12:30:00\""),
        (
            "timestamptz '2026-02-28 12:30+02'",
            "\"2026-02-28T10:30:00Z\"",
        ),
        ("interval '1 day 2 hours'", "\"P1DT2H\""),
        ("'good'::mood", "\"good\""),
        ("5::age", "5"),
        ("ARRAY[[1, 2], [3, null]]", "[[1,2],[3,null]]"),
        ("'{}'::text[]", "[]"),
        ("ARRAY['good'::mood]", "[\"good\"]"),
        ("pg_sleep(0)", "null"),
    ] {
        assert_eq!(
            fixture.value(&format!("SELECT {expression}")).await,
            wanted,
            "{expression}"
        );
    }
}

#[tokio::test]
async fn an_answer_names_its_columns_and_counts() {
    let fixture = Fixture::new().await;
    let answer = fixture
        .run("INSERT INTO rows VALUES (1, 'a'), (2, null) RETURNING n, note, ARRAY[n] AS ns")
        .await;
    assert_eq!(
        answer.expect("runs"),
        r#"{"columns":[{"name":"n","type":"int8"},{"name":"note","type":"text"},{"name":"ns","type":"int8[]"}],"rows":[[1,"a",[1]],[2,null,[2]]],"affected":2}"#
    );
    let answer = fixture.run("UPDATE rows SET note = 'b'").await;
    assert_eq!(
        answer.expect("runs"),
        r#"{"columns":[],"rows":[],"affected":2}"#
    );
    let answer = fixture.run("SELECT FROM rows").await;
    assert_eq!(
        answer.expect("runs"),
        r#"{"columns":[],"rows":[[],[]],"affected":2}"#
    );
}

#[tokio::test]
async fn values_round_trip_through_parameters() {
    let fixture = Fixture::new().await;
    for (ty, value) in [
        ("int8", "9223372036854775807"),
        ("numeric", "\"0.10\""),
        ("float8", "\"Infinity\""),
        ("text", "\"a'b\\\\\""),
        ("jsonb", "\"text\""),
        ("jsonb", "[1,{\"a\":null}]"),
        ("bytea", "\"\\\\x00ff\""),
        ("timestamptz", "\"2026-02-28T10:30:00.000001Z\""),
        ("timestamp", "\"-infinity\""),
        ("interval", "\"P1Y2M3DT4H5M6.5S\""),
        ("text[]", "[\"a,b\",\"{}\",null,\"\\\"\"]"),
        ("int4[]", "[[1,2],[3,4]]"),
        ("bool", "false"),
    ] {
        let answer = fixture
            .run_with(&format!("SELECT $1::{ty}"), &format!("[{value}]"))
            .await;
        let answer: serde_json::Value = serde_json::from_str(&answer.expect(ty)).expect("JSON");
        assert_eq!(answer["rows"][0][0].to_string(), value, "{ty}");
    }
}

#[tokio::test]
async fn an_unreadable_column_names_the_cast() {
    let fixture = Fixture::new().await;
    let problem = fixture
        .run("SELECT point '(1,2)' AS p")
        .await
        .expect_err("a point");
    assert_eq!(problem.code, "invalid");
    assert!(problem.message.contains("p::text"), "{problem:?}");
    assert_eq!(
        fixture.value("SELECT point '(1,2)'::text").await,
        "\"(1,2)\""
    );
    let problem = fixture
        .run("SELECT date '20000-01-01' AS far")
        .await
        .expect_err("far");
    assert!(problem.message.contains("far::text"), "{problem:?}");
}

#[tokio::test]
async fn decimals_small_on_the_wire_stop_at_the_limit() {
    let mut fixture = Fixture::new().await;
    fixture.limits.sql_bytes = 1 << 20;
    for numbers in [
        "array_agg(1e131071::numeric) FROM generate_series(1, 2000)",
        "array_agg(ARRAY[1e131071::numeric, null]) FROM generate_series(1, 1000)",
    ] {
        let problem = fixture
            .run(&format!("SELECT {numbers}"))
            .await
            .expect_err("262 MB as JSON");
        assert_eq!(problem.code, "limit", "{problem:?}");
        assert!(problem.message.contains("as JSON"), "{problem:?}");
        fixture.again();
    }
}
