//! Formats JSON text without changing a value. A `Value` would lose the digits of long
//! numbers and duplicate names.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Serializes a value as JSON on one line.
pub(crate) fn line(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("keys are strings");
    // Line breaks inside strings are escaped: these are between values.
    text.replace(['\n', '\r'], " ")
}

/// Adds a first field `schema` to a JSON object. Returns other values unchanged.
pub(crate) fn marked(schema: &str, json: &str) -> String {
    let Some(fields) = json.strip_prefix('{') else {
        return json.to_owned();
    };
    let comma = if fields == "}" { "" } else { "," };
    format!("{{\"schema\":\"{schema}\"{comma}{fields}")
}

/// Formats JSON on several lines with an indentation of two spaces.
pub(crate) fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(2 * json.len());
    let mut depth: usize = 0;
    let mut in_text = false;
    let mut escaped = false;
    // Whether the last character opened an object or array.
    let mut opened = false;
    let next_line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    for c in json.chars() {
        if in_text {
            out.push(c);
            in_text = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(c, '}' | ']');
        if closes {
            depth = depth.saturating_sub(1);
        }
        if opened != closes {
            next_line(&mut out, depth);
        }
        opened = matches!(c, '{' | '[');
        in_text = c == '"';
        out.push(c);
        match c {
            '{' | '[' => depth += 1,
            ',' => next_line(&mut out, depth),
            ':' => out.push(' '),
            _ => {}
        }
    }
    out.push('\n');
    out
}

/// Parses JSON text that Postgres accepts as `json`, to check it. Replaces values that
/// `Value` cannot represent: numbers beyond the range of f64 by the largest one, unpaired
/// surrogates by U+FFFD.
pub(crate) fn read(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text).or_else(|error| {
        // A raw value checks only the syntax of numbers and escapes, like Postgres.
        let is_json = serde_json::from_str::<&RawValue>(text).is_ok();
        match is_json && !is_too_deep(&error) {
            true => serde_json::from_str(&representable(text)),
            false => Err(error),
        }
    })
}

/// Whether the text is nested deeper than 127 levels, the limit of the parser.
pub(crate) fn is_too_deep(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("recursion limit")
}

/// Replaces the values of JSON text that `Value` cannot represent.
fn representable(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(c) = rest.chars().next() {
        let end = match c {
            '"' => string_end(rest),
            '-' | '0'..='9' => {
                let is_part = |c: char| matches!(c, '+' | '-' | '.' | 'e' | 'E' | '0'..='9');
                rest.find(|c| !is_part(c)).unwrap_or(rest.len())
            }
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(end);
        match c {
            '"' => out.push_str(&whole_pairs(token)),
            '-' | '0'..='9' => out.push_str(finite(token)),
            _ => out.push_str(token),
        }
        rest = after;
    }
    out
}

/// The length of the string at the start of `text`.
fn string_end(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn finite(number: &str) -> &str {
    match number.parse::<f64>() {
        Ok(f64::INFINITY) => "1.7976931348623157e308",
        Ok(f64::NEG_INFINITY) => "-1.7976931348623157e308",
        _ => number,
    }
}

/// Replaces unpaired surrogates of a string by U+FFFD.
fn whole_pairs(string: &str) -> String {
    let mut out = String::with_capacity(string.len());
    let mut rest = string;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (taken, replaced) = match (unit(rest), unit(rest.get(6..).unwrap_or(""))) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (12, None),
            (Some(0xd800..=0xdfff), _) => (6, Some("\\ufffd")),
            (Some(_), _) => (6, None),
            (None, _) => (2, None),
        };
        out.push_str(replaced.unwrap_or(&rest[..taken]));
        rest = &rest[taken..];
    }
    out.push_str(rest);
    out
}

/// The value of the Unicode escape at the start of `text`.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pretty_output_equals_that_of_serde() {
        for value in [
            json!(null),
            json!([]),
            json!({"a": {}, "b": [[], [1, -2.5e3, true], {"c": "\" \\ : , { [ é\n"}], "": "\\"}),
        ] {
            assert_eq!(pretty(&value.to_string()), format!("{value:#}\n"));
            assert_eq!(pretty(&format!("{value:#}")), format!("{value:#}\n"));
        }
    }

    #[test]
    fn values_are_unchanged() {
        let text = "{\"b\": 12345678901234567890.10,\n\"a\":\r[1E2], \"a\": \"\\u00e9\"}";
        let raw = RawValue::from_string(text.to_owned()).expect("JSON");
        let shown = line(&raw);
        assert_eq!(shown, text.replace(['\n', '\r'], " "));
        insta::assert_snapshot!(pretty(&marked("s/v1", &shown)), @r#"
        {
          "schema": "s/v1",
          "b": 12345678901234567890.10,
          "a": [
            1E2
          ],
          "a": "\u00e9"
        }
        "#);
        assert_eq!(marked("s/v1", "{}"), "{\"schema\":\"s/v1\"}");
        assert_eq!(marked("s/v1", "[1]"), "[1]");
    }

    #[test]
    fn postgres_json_beyond_serde_values_is_approximated() {
        for (text, near) in [
            ("[1e400, -1E+999, 1e-400]", json!([f64::MAX, f64::MIN, 0.0])),
            (
                r#"["\ud800", "a\udc00b", "\ud83d\ude00"]"#,
                json!(["\u{fffd}", "a\u{fffd}b", "😀"]),
            ),
            (
                r#"{"\ud800": "\\ud800 1e400 \"é", "b": 1e400}"#,
                json!({"\u{fffd}": "\\ud800 1e400 \"é", "b": f64::MAX}),
            ),
            (r#"["\ud800\ud800\udc00"]"#, json!(["\u{fffd}\u{10000}"])),
        ] {
            assert_eq!(read(text).expect(text), near, "{text}");
        }
        for text in ["[1e]", r#"["\ud80"]"#, "[01]", "[1e400", r#"["\x"]"#] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_on_one_line_parses_to_itself() {
        let value = json!({"a": [1, "x"]});
        assert_eq!(
            serde_json::from_str::<Value>(&line(&value)).expect("JSON"),
            value
        );
    }
}
