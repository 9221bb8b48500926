//! Validates JSON text from a guest without building a tree of it.

use crate::error::LoadError;

/// Maximum nesting depth: what most readers, serde_json among them, accept. Postgres
/// fails at a few thousand.
pub(super) const MAX_DEPTH: usize = 128;

/// Checks that `text` is JSON that every later reader accepts, or says why not.
pub(super) fn check(text: &str) -> Result<(), String> {
    if too_deep(text) {
        return Err(format!("nested more than {MAX_DEPTH} deep"));
    }
    serde_json::from_str::<&serde_json::value::RawValue>(text)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Maximum number of JSON values in a manifest. Each takes about 100 bytes of the
/// runner's memory, but only two bytes of text.
const MAX_MANIFEST_VALUES: usize = 50_000;

/// Rejects a manifest with too many values before it is parsed.
pub(super) fn few_values(n: usize) -> Result<(), LoadError> {
    match n <= MAX_MANIFEST_VALUES {
        true => Ok(()),
        false => Err(LoadError::BadManifest(format!(
            "it has {n} JSON values, the limit is {MAX_MANIFEST_VALUES}"
        ))),
    }
}

/// An upper bound for the number of values in `text`: one, and one more for each
/// separator and each bracket outside of strings.
pub(super) fn n_values(text: &[u8]) -> usize {
    let (mut n, mut in_string, mut escaped) = (1, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b':' | b'[' | b'{' if !in_string => n += 1,
            _ => {}
        }
    }
    n
}

/// Counts brackets outside of strings. Done before parsing, so that the result does not
/// depend on the parser's recursion limit.
fn too_deep(text: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_accepted_unchanged_and_other_text_rejected() {
        for good in [
            "1",
            "null",
            r#"{"a":[1,2]}"#,
            " [1e400] ",
            r#""[[[""#,
            r#""\"[""#,
            r#""\u0000""#,
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "x", "[1,]", "{'a':1}", "1 2", "NaN", "\"a", "[1"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_counted_outside_of_strings() {
        assert_eq!(n_values(b"1"), 1);
        assert_eq!(n_values(br#"{"a":[1,2],"b,[":"c,:"}"#), 7);
        assert_eq!(n_values(br#"["\",",1]"#), 3);
    }

    #[test]
    fn depth_is_bounded_and_strings_do_not_count() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(check(&nested(MAX_DEPTH)), Ok(()));
        assert!(check(&nested(MAX_DEPTH + 1)).is_err());
        assert!(check(&"[".repeat(1 << 20)).is_err());
        assert_eq!(check(&format!("\"{}\"", "[".repeat(1_000))), Ok(()));
    }
}
