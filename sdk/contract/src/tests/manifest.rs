//! A manifest is untrusted text.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::Name;

type Manifest = crate::Manifest<Value>;
type HandlerInfo = crate::HandlerInfo<Value>;

/// JSON of any shape, a few levels deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Not any number: its text need not read back as the same one.
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)),
        ".{0,12}".prop_map(Value::from),
        Just(json!("forever")),
        Just(json!(u64::MAX)),
        Just(json!(-1)),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let key = prop_oneof![
            ".{0,6}",
            "(name|retries|limits|needs|fuel|memory|http|tcp|sql|first_ms|max_ms|backoff)"
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..5)
                .prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

/// A manifest in which any field may have any value.
fn nearly_a_manifest() -> impl Strategy<Value = Value> {
    let handler = (any_json(), any_json(), any_json(), any_json(), 0..8_u8).prop_map(|(a, b, c, d, which)| {
        let mut handler = json!({"name": "add", "description": "", "docs": "", "positional": ["a"], "retry": {"retries": 3, "backoff": {"first_ms": 1, "max_ms": 2}}});
        for (bit, field, value) in [(1, "name", a), (2, "limits", b), (4, "needs", c)] {
            if which & bit != 0 {
                handler[field] = value;
            }
        }
        handler["arguments"] = d;
        handler
    });
    prop::collection::vec(handler, 0..4)
        .prop_map(|handlers| json!({"contract": "1.0.0", "plugin": {"name": "p", "version": "1"}, "handlers": handlers}))
}

proptest! {
    #[test]
    fn no_bytes_crash_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        serde_json::from_slice::<Manifest>(&bytes).ok();
        serde_json::from_slice::<HandlerInfo>(&bytes).ok();
    }

    #[test]
    fn no_json_crashes_the_parser_and_manifests_round_trip(value in nearly_a_manifest()) {
        if let Ok(manifest) = serde_json::from_value::<Manifest>(value) {
            let text = serde_json::to_string(&manifest).expect("it is JSON");
            let again: Manifest = serde_json::from_str(&text).expect("it reads back");
            prop_assert_eq!(again, manifest);
        }
    }

    #[test]
    fn a_manifest_with_one_byte_changed_is_parsed_or_rejected(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let whole = json!({"contract": "1.0.0", "plugin": {"name": "p", "version": "1"}, "handlers": [
            {"name": "add", "limits": {"fuel": 1000, "memory": 65536}, "retry": {"retries": "forever"}, "needs": {"http": ["GET https://a/"]}}]});
        let mut bytes = whole.to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) {
            for handler in manifest.handlers {
                prop_assert!(Name::new(handler.name.as_str()).is_ok());
            }
        }
    }
}
