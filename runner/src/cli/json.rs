//! JSON text as text: laid out anew, to the letter the same. A number of thirty
//! digits would not come back from a `Value`, nor a name that is there twice.

use serde::Serialize;

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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

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
    fn a_value_on_a_line_is_a_value() {
        let value = json!({"a": [1, "x"]});
        assert_eq!(
            serde_json::from_str::<Value>(&line(&value)).expect("JSON"),
            value
        );
    }
}
