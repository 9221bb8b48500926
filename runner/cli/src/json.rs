//! Lays out JSON text without changing a value. A number of thirty
//! digits would not come back from a `Value`, nor a name that is there twice.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// JSON text of something that is shown, on one line. Never null for what is not:
/// there would be nothing to see of the rest.
pub(crate) fn line(shown: &impl Serialize) -> String {
    let text = serde_json::to_string(shown).expect("what is shown has names as keys");
    // Inside of texts they are escaped: these stand between values.
    text.replace(['\n', '\r'], " ")
}

/// The object, or what else it is, with a first field `schema` if it is one.
pub(crate) fn marked(schema: &str, json: &str) -> String {
    let Some(fields) = json.strip_prefix('{') else {
        return json.to_owned();
    };
    let comma = if fields == "}" { "" } else { "," };
    format!("{{\"schema\":\"{schema}\"{comma}{fields}")
}

/// Over many lines, indented by two.
pub(crate) fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(2 * json.len());
    let mut depth: usize = 0;
    let mut in_text = false;
    let mut escaped = false;
    // Nothing has been written since a bracket opened.
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

/// Reads JSON text that Postgres takes as `json`, to check it. Where a value has no
/// counterpart here, one near to it takes its place: the largest number for one that
/// is larger, U+FFFD for half of a surrogate pair.
pub(crate) fn read(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text).or_else(|error| {
        // This reads numbers and escapes by their grammar only, as Postgres does.
        let is_json = serde_json::from_str::<&RawValue>(text).is_ok();
        match is_json && !is_too_deep(&error) {
            true => serde_json::from_str(&representable(text)),
            false => Err(error),
        }
    })
}

/// Whether the text may well be JSON, but is nested deeper than 127 levels.
pub(crate) fn is_too_deep(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("recursion limit")
}

/// JSON text with near values for those that no `Value` can hold.
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

/// Where the string at the beginning of `text` ends.
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

/// A string's text with U+FFFD for every half of a surrogate pair that stands alone.
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

/// The number of the Unicode escape at the beginning of `text`.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pretty_text_is_what_serde_writes() {
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
    fn values_stay_to_the_letter() {
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
    fn json_of_postgres_that_no_value_holds_is_read_as_a_near_one() {
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
    fn a_value_on_a_line_is_a_value() {
        let value = json!({"a": [1, "x"]});
        assert_eq!(
            serde_json::from_str::<Value>(&line(&value)).expect("JSON"),
            value
        );
    }
}
