//! All forms of arguments, and errors in them.

use serde_json::{Value, json};

use crate::arguments::read;
use crate::error::Problem;
use pgtq_task::{HandlerInfo, LimitRequest, Name, RetryPolicy};

pub(crate) fn handler() -> HandlerInfo {
    HandlerInfo {
        name: Name::new("resize").unwrap(),
        description: "Make an image smaller.".to_owned(),
        docs: String::new(),
        arguments: Some(json!({
            "$defs": {
                "Kind": {"enum": ["png", "jpeg"]},
                "Loop": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Loop"}}},
            },
            "type": "object",
            "properties": {
                "file": {"type": "string"},
                "width": {"type": "integer"},
                "ratio": {"type": ["number", "null"]},
                "title": {"type": ["string", "null"]},
                "tags": {"type": "array", "items": {"type": "string"}},
                "kind": {"$ref": "#/$defs/Kind"},
                "crop": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
                "next": {"$ref": "#/$defs/Loop"},
            },
            "required": ["file", "width"],
            "additionalProperties": false,
        })),
        positional: ["file", "width", "ratio"].map(str::to_owned).to_vec(),
        limits: LimitRequest::default(),
        retry: RetryPolicy::default(),
        needs: Default::default(),
        push: Default::default(),
    }
}

fn with(words: &[&str], handler: Option<&HandlerInfo>, stdin: &str) -> Result<Value, Problem> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let text = read(&words, handler, &mut stdin.as_bytes())?;
    Ok(serde_json::from_str(&text).unwrap())
}

#[test]
fn pairs_are_typed_by_the_handlers_schema() {
    let info = handler();
    let check = |words: &[&str], expected: Value| {
        assert_eq!(with(words, Some(&info), "").unwrap(), expected);
    };
    check(&["file=1", "width=2"], json!({"file": "1", "width": 2}));
    check(
        &["file=true", "width=2", "crop=true"],
        json!({"file": "true", "width": 2, "crop": true}),
    );
    check(
        &["file=a=b", "width=2", "ratio=1.5"],
        json!({"file": "a=b", "width": 2, "ratio": 1.5}),
    );
    check(
        &["file=a", "width=2", "ratio=null"],
        json!({"file": "a", "width": 2, "ratio": null}),
    );
    check(
        &["file=a", "width=2", "title=null"],
        json!({"file": "a", "width": 2, "title": null}),
    );
    check(
        &["file=", "width:=3", "tags:=[\"x\"]"],
        json!({"file": "", "width": 3, "tags": ["x"]}),
    );
    check(
        &["file=a", "width=2", "kind=png"],
        json!({"file": "a", "width": 2, "kind": "png"}),
    );
}

#[test]
fn without_a_schema_simple_json_values_are_recognized() {
    let check = |words: &[&str], expected: Value| {
        assert_eq!(with(words, None, "").unwrap(), expected);
    };
    check(
        &["a=2", "b=x", "c=true", "d=null"],
        json!({"a": 2, "b": "x", "c": true, "d": null}),
    );
    check(&["zip=007", "q=\"x\""], json!({"zip": "007", "q": "\"x\""}));
    check(&[], json!({}));
}

#[test]
fn all_json_of_postgres_is_passed_unchanged() {
    let take = |words: &[&str], handler: Option<&HandlerInfo>| {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        read(&words, handler, &mut std::io::empty())
    };
    for text in [
        "[1e400]",
        r#"["\ud800", 2]"#,
        r#"{"\udc00": -1E999}"#,
        "[12345678901234567890.10]",
    ] {
        assert_eq!(take(&[text], None).unwrap(), text);
        let pair = format!("a:={text}");
        assert_eq!(take(&[&pair], None).unwrap(), format!("{{\"a\":{text}}}"));
    }
    let resize = handler();
    let text = r#"{"file": "\ud800", "width": 2, "ratio": 1e400}"#;
    assert_eq!(take(&[text], Some(&resize)).unwrap(), text);
    let typed = take(&["file=a", "width=2", "ratio=1e400"], Some(&resize)).unwrap();
    assert_eq!(typed, r#"{"file":"a","ratio":1e400,"width":2}"#);
    // The schema still applies.
    let text = r#"{"file": "\ud800", "width": "1e400"}"#;
    assert!(take(&[text], Some(&resize)).is_err());
    // Without a schema, such a number is a string.
    assert_eq!(
        take(&["commit=12e999"], None).unwrap(),
        r#"{"commit":"12e999"}"#
    );
}

#[test]
fn json_texts_files_and_standard_input_are_whole_arguments() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "{\"a\": 7}\n").unwrap();
    let at = format!("@{}", file.path().display());
    assert_eq!(with(&["{\"a\":2}"], None, "").unwrap(), json!({"a": 2}));
    assert_eq!(with(&["[2,3]"], None, "").unwrap(), json!([2, 3]));
    assert_eq!(with(&[&at], None, "").unwrap(), json!({"a": 7}));
    assert_eq!(with(&["-"], None, " [1] ").unwrap(), json!([1]));
    let text = format!("text=@{}", file.path().display());
    assert_eq!(
        with(&[&text], None, "").unwrap(),
        json!({"text": "{\"a\": 7}\n"})
    );
}

#[test]
fn an_invalid_schema_prevents_no_push() {
    let mut info = handler();
    for schema in [
        json!({"properties": {"a": {"$ref": "#/$defs/Missing"}}}),
        json!({"properties": {"a": {"$ref": "#/properties/a"}}}),
        json!({"type": 7}),
        json!(null),
    ] {
        info.arguments = Some(schema);
        assert_eq!(with(&["a=x"], Some(&info), "").unwrap(), json!({"a": "x"}));
    }
}

#[test]
fn large_numbers_keep_every_digit() {
    let words = ["{\"n\":123456789012345678901234567890.5}".to_owned()];
    let text = read(&words, None, &mut "".as_bytes()).unwrap();
    assert_eq!(text, words[0]);
}

#[test]
fn mistakes_in_arguments_are_explained() {
    let info = handler();
    let huge = format!("\"{}\"", "x".repeat(1 << 20));
    let huge = format!("{{\"file\":{huge},\"width\":1}}");
    let deep = format!("tags:={}", "[".repeat(100_000));
    let texts: Vec<String> = [
        &["file=a"][..],
        &["file=a", "width=wide"],
        &["file=a", "width:=\"3\""],
        &["file=a", "width=2", "widht=3"],
        &["file=a", "width=2", "colour=red"],
        &["file=a", "file=b"],
        &["oops"],
        &["{\"file\":"],
        &["tags:=[", "file=a"],
        &["\"text\""],
        &["-"],
        &["[\"a\",2,1.0,4]"],
        &["[\"a\",\"b\"]"],
        &["@/no/such/file"],
        &["file=a", "width=2", "kind=gif"],
        &[huge.as_str()],
        &[&deep["tags:=".len()..]],
        &[deep.as_str()],
    ]
    .iter()
    .map(|words| match with(words, Some(&info), "\"just text\"") {
        Ok(value) => format!("accepted: {value}"),
        Err(problem) => format!("[{}] {problem}", problem.exit as u8),
    })
    .collect();
    insta::assert_snapshot!(texts.join("\n\n"));
}
