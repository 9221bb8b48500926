//! When an expected value equals the observed one.

use serde_json::Value;

/// Stands for any value: what a clock says is different every time.
pub(super) const ANY: &str = "{{any}}";

/// Whether the values are equal, one by one; [`ANY`] is equal to every one.
pub(super) fn all_same(expected: &[Value], got: &[Value]) -> bool {
    let fits = |(expected, got): (&Value, &Value)| expected == ANY || same(expected, got);
    expected.len() == got.len() && expected.iter().zip(got).all(fits)
}

/// Numbers are equal by value: 5 is 5.0.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            a == b || x.is_f64() != y.is_f64() && x.as_f64() == y.as_f64()
        }
        _ => a == b,
    }
}

/// A statement on one line.
pub(super) fn plain(statement: &str) -> String {
    statement.split_whitespace().collect::<Vec<_>>().join(" ")
}
