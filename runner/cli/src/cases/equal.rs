//! When an expected value equals the observed one.

use serde_json::Value;

/// Matches any value, for example a time.
pub(super) const ANY: &str = "{{any}}";

/// Whether the lists are equal; [`ANY`] equals every value.
pub(super) fn all_same(expected: &[Value], got: &[Value]) -> bool {
    let fits = |(expected, got): (&Value, &Value)| expected == ANY || same(expected, got);
    expected.len() == got.len() && expected.iter().zip(got).all(fits)
}

/// Numbers are equal by value: 5 equals 5.0.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            a == b || x.is_f64() != y.is_f64() && x.as_f64() == y.as_f64()
        }
        _ => a == b,
    }
}

/// A statement on one line, with normalized whitespace.
pub(super) fn plain(statement: &str) -> String {
    statement.split_whitespace().collect::<Vec<_>>().join(" ")
}
