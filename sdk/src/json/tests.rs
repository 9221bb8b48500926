use std::collections::BTreeMap;

use super::*;
use crate::Bytes;

#[derive(Serialize, Default)]
struct Row {
    name: &'static str,
    rates: Vec<(u8, f32)>,
    note: Option<Note>,
}

#[derive(Serialize)]
enum Note {
    Unit,
    New(f64),
    Tuple(u8, f64),
    Struct { rate: f64 },
}

#[derive(Serialize)]
struct New(f64);

#[derive(Serialize)]
struct Flat {
    #[serde(flatten)]
    row: Row,
    #[serde(flatten)]
    more: BTreeMap<&'static str, f64>,
}

#[derive(Serialize)]
#[serde(tag = "kind")]
enum Tagged {
    Rate { of: f64 },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Untagged {
    Rate { of: f64 },
}

fn row(rates: Vec<(u8, f32)>, note: impl Into<Option<Note>>) -> Row {
    let note = note.into();
    Row {
        name: "a",
        rates,
        note,
    }
}

/// Both ways of writing the value report the same fault.
#[track_caller]
fn assert_rejected(value: &impl Serialize, expected: &str) {
    let fault = super::value(value).expect_err(expected);
    assert_eq!(fault.to_string(), expected);
    assert_eq!(text(value).expect_err(expected).to_string(), expected);
}

#[test]
fn nan_and_infinities_are_named_with_their_place() {
    const NAN: f64 = f64::NAN;
    assert_rejected(&NAN, "NaN is not a JSON number");
    assert_rejected(&f32::NEG_INFINITY, "-infinity is not a JSON number");
    assert_rejected(&Some(f64::INFINITY), "infinity is not a JSON number");
    assert_rejected(&New(NAN), "NaN is not a JSON number");
    for (value, place) in [
        (row(vec![(1, 0.5), (2, f32::NAN)], None), "rates[1][1]"),
        (row(vec![], Note::New(NAN)), "note.New"),
        (row(vec![], Note::Tuple(1, NAN)), "note[1]"),
        (row(vec![], Note::Struct { rate: NAN }), "note.rate"),
    ] {
        assert_rejected(
            &value,
            &format!("`{place}` is NaN, which is not a JSON number"),
        );
        let deep = BTreeMap::from([("rows", [value])]);
        assert_rejected(
            &deep,
            &format!("`rows[0].{place}` is NaN, which is not a JSON number"),
        );
    }
    let flat = |row, rate| Flat {
        row,
        more: BTreeMap::from([("rate", rate)]),
    };
    assert_rejected(
        &flat(row(vec![], None), NAN),
        "`rate` is NaN, which is not a JSON number",
    );
    assert_rejected(
        &flat(row(vec![(0, f32::NAN)], None), 0.0),
        "`rates[0][1]` is NaN, which is not a JSON number",
    );
    assert_rejected(
        &[Tagged::Rate { of: NAN }],
        "`[0].of` is NaN, which is not a JSON number",
    );
    assert_rejected(
        &[Untagged::Rate { of: NAN }],
        "`[0].of` is NaN, which is not a JSON number",
    );
}

/// A float as a map key.
#[derive(PartialEq, PartialOrd)]
struct Key(f64);

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

struct Keys([(Key, u8); 2]);

impl Serialize for Keys {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

#[test]
fn a_key_that_is_nan_is_named() {
    let keys = |second| BTreeMap::from([("by_rate", Keys([(Key(0.5), 1), (Key(second), 2)]))]);
    assert_eq!(
        text(&keys(2.5)).expect("finite"),
        r#"{"by_rate":{"0.5":1,"2.5":2}}"#
    );
    assert_rejected(
        &keys(f64::NAN),
        "`by_rate.(a key)` is NaN, which is not a JSON number",
    );
    assert_rejected(
        &BTreeMap::from([(vec![1], 2)]),
        "`(a key)`: key must be a string",
    );
}

#[test]
fn other_values_are_written_as_by_serde_json() {
    let value = (
        (true, 'c', -7_i8, u64::MAX, i128::MIN, 0.5_f32, f64::MAX),
        (
            row(vec![(1, 1.5)], Note::Unit),
            Note::Struct { rate: 0.1 },
            (),
        ),
        (
            None::<u8>,
            BTreeMap::from([(3, "three")]),
            serde_json::json!({"k": [1, null]}),
        ),
        (
            Note::New(0.0),
            Note::Tuple(1, 2.0),
            Tagged::Rate { of: 1.0 },
            "\u{1}\"é",
        ),
        (
            std::net::Ipv4Addr::LOCALHOST,
            std::time::Duration::from_millis(5),
        ),
    );
    let plain = serde_json::to_string(&value).expect("finite");
    assert_eq!(text(&value).expect("finite"), plain);
    let small = (row(vec![(1, 1.5)], None), Bytes::from(*b"foo"), 2.0_f64);
    assert_eq!(
        super::value(&small).expect("finite"),
        serde_json::to_value(&small).expect("finite")
    );
}

#[test]
fn bytes_are_hex_as_a_parameter_and_base64_elsewhere() {
    let bytes = || Bytes::from([0xab_u8, 1]);
    let parameter = |value| parameter(0, &value).expect("JSON").to_string();
    assert_eq!(parameter(Some(bytes())), r#""\\xab01""#);
    assert_eq!(
        super::parameter(0, &vec![bytes()])
            .expect("JSON")
            .to_string(),
        r#"["\\xab01"]"#
    );
    assert_eq!(
        super::parameter(0, &BTreeMap::from([("k", bytes())]))
            .expect("JSON")
            .to_string(),
        r#"{"k":"qwE="}"#
    );
    assert_eq!(parameters(&[bytes()]).expect("JSON"), r#"["\\xab01"]"#);
    assert_eq!(text(&[bytes()]).expect("JSON"), r#"["qwE="]"#);
}

#[test]
fn a_parameter_is_named_by_its_number() {
    assert_eq!(
        parameters(&[0.0, f64::NAN]).expect_err("NaN").to_string(),
        "`$2` is NaN, which is not a JSON number"
    );
    assert_eq!(
        parameter(2, &[1.0, f64::INFINITY])
            .expect_err("infinity")
            .to_string(),
        "`$3[1]` is infinity, which is not a JSON number"
    );
}

#[test]
fn the_macro_accepts_the_syntax_of_serde_json() {
    let (key, list) = ("k", vec![1, 2]);
    macro_rules! both {
        ($($json:tt)+) => {
            assert_eq!(crate::json!($($json)+), serde_json::json!($($json)+));
        };
    }
    both!(null);
    both!(true);
    both!([]);
    both!({});
    both!(list[0] + 1);
    both!([1, null, [true, {}], {"a": null}, list, -2.5, "x",]);
    both!({
        "a": 1, key: [list], (format!("{key}{key}")): {"b": {"c": null, "d": -1}},
        "e": list.iter().sum::<i32>(), "f": if true { 1 } else { 2 }, "t": false,
    });
}

#[test]
#[should_panic(expected = "json!: `[1]` is NaN, which is not a JSON number")]
fn the_macro_panics_at_nan() {
    let _ = crate::json!({ "rates": vec![1.0, f64::NAN] });
}
