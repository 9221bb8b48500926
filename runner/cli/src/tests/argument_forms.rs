//! Property tests of arguments and of untrusted schemas.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::arguments::handler;
use crate::arguments::read;
use pgtq_task::HandlerInfo;

fn read_words(words: &[String], handler: Option<&HandlerInfo>) -> Option<String> {
    read(words, handler, &mut std::io::empty()).ok()
}

/// JSON of any shape, a few levels deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..5)
                .prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

/// Almost valid arguments, none of which reads a file.
fn nearly_a_word() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "file", "width", "ratio", "title", "tags", "kind", "crop", "next", "=", ":=", "=", "1",
        "-1", "1e400", "null", "true", "\"", "[", "]", "{", "}", "png", " ", "\u{0}", "\\u0000",
        "é", ",", ":", "",
    ]);
    prop::collection::vec(piece, 0..6).prop_map(|all| all.concat())
}

proptest! {
    #[test]
    fn any_words_are_arguments_or_an_error(words in prop::collection::vec(nearly_a_word(), 0..4), known in any::<bool>()) {
        let resize = handler();
        if let Some(text) = read_words(&words, known.then_some(&resize)) {
            // Postgres accepts numbers of any size.
            let value = crate::json::read(&text).expect("it is JSON");
            prop_assert!(value.is_object() || value.is_array());
        }
    }

    #[test]
    fn one_json_text_is_passed_unchanged(value in any_json(), spaces in "[ \\n\\t]{0,3}") {
        let text = if spaces.len() > 1 { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.expect("it is JSON");
        let read = read_words(&[format!("{text}{spaces}")], None);
        match value {
            Value::Object(_) | Value::Array(_) => prop_assert_eq!(read, Some(text)),
            _ => {}
        }
    }

    #[test]
    fn a_pair_with_a_colon_is_any_json(value in any_json(), name in "[a-z]{1,8}") {
        let text = serde_json::to_string(&value).expect("it is JSON");
        let read = read_words(&[format!("{name}:={text}")], None).expect("legal");
        let read: Value = serde_json::from_str(&read).expect("it is JSON");
        prop_assert_eq!(&read[&name], &value);
    }

    #[test]
    fn a_string_argument_is_never_parsed(text in "[^@].{0,20}|[0-9]{1,5}|true|null|\\[1\\]") {
        let resize = handler();
        let read = read_words(&[format!("file={text}"), "width=1".to_owned()], Some(&resize)).expect("legal");
        let read: Value = serde_json::from_str(&read).expect("it is JSON");
        prop_assert_eq!(&read["file"], &Value::String(text));
    }

    #[test]
    fn no_untrusted_schema_breaks_the_parser(schema in any_json(), of_width in any_json()) {
        let mut resize = handler();
        for schema in [schema, json!({"properties": {"width": of_width}})] {
            resize.arguments = Some(schema);
            read_words(&["width=1".to_owned()], Some(&resize));
            read_words(&["[1, 2]".to_owned()], Some(&resize));
        }
    }
}

#[test]
fn a_schema_with_many_cycles_terminates() {
    let mut resize = handler();
    let branches = vec![json!({"$ref": "#/properties/width"}); 200];
    resize.arguments =
        Some(json!({"properties": {"width": {"type": "integer", "anyOf": branches}}}));
    // There are 200 to the power of 8 paths, so the parser must stop early.
    read_words(&["width=1".to_owned()], Some(&resize));
}
