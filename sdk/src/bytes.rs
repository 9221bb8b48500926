//! Bytes as an argument, a result, or a statement parameter.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::{Serialize, Serializer};

/// The name under which [`Bytes`](crate::Bytes) serializes itself: base64 inside.
pub(crate) const BYTES: &str = "$pgtq_sdk::Bytes";

/// Binary data: base64 in JSON, `bytea` in SQL.
///
/// As an argument or a result it is a base64 string (standard alphabet, with
/// padding), and the schema has `contentEncoding: base64`. Base64 takes four
/// bytes for three, so arguments of 1 MiB carry at most 768 KiB of data. As a
/// statement parameter it is `bytea`, and in an array `bytea[]`; inside a JSON
/// parameter it is base64.
///
/// Deserialization accepts base64 with or without padding and line breaks, and
/// the hex format of Postgres (`\x0a1b`).
///
/// ```
/// use pgtq_sdk::prelude::*;
///
/// #[handler]
/// fn checksum(file: Bytes) -> u64 {
///     file.iter().map(|byte| u64::from(*byte)).sum()
/// }
///
/// let ctx = pgtq_sdk::Ctx::test();
/// assert_eq!(ctx.run("checksum", ["AQID"]), Ok(json!(6)));
/// ```
#[derive(Clone, PartialEq, Eq, Default, Hash)]
pub struct Bytes(
    /// The bytes.
    pub Vec<u8>,
);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes)", self.0.len())
    }
}

impl<T: Into<Vec<u8>>> From<T> for Bytes {
    fn from(bytes: T) -> Self {
        Bytes(bytes.into())
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl JsonSchema for Bytes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn schema_id() -> Cow<'static, str> {
        "pgtq_sdk::Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "contentEncoding": "base64" })
    }
}

/// The newtype's name makes the parameter serializer write hex.
impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(BYTES, &to_base64(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

struct Text;

impl Visitor<'_> for Text {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes as base64")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
        // Base64 has no backslash, so `\x` cannot begin base64 text.
        let is_break = |c: char| c == '\n' || c == '\r';
        let bytes = match text.strip_prefix("\\x") {
            Some(digits) => from_hex(digits),
            None if text.contains(is_break) => from_base64(&text.replace(is_break, "")),
            None => from_base64(text),
        };
        bytes.map(Bytes).ok_or_else(|| {
            // The message shows the first 40 characters only.
            let start: String = text.chars().take(40).collect();
            E::invalid_value(Unexpected::Str(&start), &self)
        })
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place)) & 63;
            text.push(match place <= group.len() {
                true => char::from(ALPHABET[digit as usize]),
                false => '=',
            });
        }
    }
    text
}

/// `None` if the text is not base64.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let padding = text.len() - digits.len();
    if padding > 0 && (padding > 2 || !text.len().is_multiple_of(4)) {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let mut bits = 0;
        for place in 0..4 {
            bits = bits << 6 | group.get(place).map_or(Some(0), |digit| value_of(*digit))?;
        }
        let [_, first, second, third] = u32::to_be_bytes(bits);
        match group.len() {
            4 => bytes.extend([first, second, third]),
            3 => bytes.extend([first, second]),
            2 => bytes.push(first),
            _ => return None,
        }
    }
    Some(bytes)
}

fn value_of(digit: u8) -> Option<u32> {
    Some(u32::from(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

/// The hex format of Postgres for `bytea`.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    };
    digits.as_bytes().chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Vec<u8>> {
        let bytes: Option<Bytes> = serde_json::from_str(json).ok();
        bytes.map(|bytes| bytes.0)
    }

    #[test]
    fn bytes_are_base64_in_json() {
        for (bytes, json) in [
            (&b""[..], r#""""#),
            (b"f", r#""Zg==""#),
            (b"fo", r#""Zm8=""#),
            (b"foo", r#""Zm9v""#),
            (&[0xfb, 0xff, 0, 1], r#""+/8AAQ==""#),
        ] {
            let written = serde_json::to_string(&Bytes::from(bytes)).expect("base64 is JSON");
            assert_eq!(written, json);
            assert_eq!(read(json).as_deref(), Some(bytes), "{json}");
            let bare = json.replace('=', "");
            assert_eq!(read(&bare).as_deref(), Some(bytes), "{bare}");
            let broken = json.replace('g', "g\\n").replace("==", "==\\r\\n");
            assert_eq!(read(&broken).as_deref(), Some(bytes), "{broken}");
        }
    }

    #[test]
    fn the_hex_format_of_postgres_is_accepted() {
        assert_eq!(to_hex(&[0, 1, 0xab, 0xff]), "\\x0001abff");
        assert_eq!(read(r#""\\x0001ABff""#), Some(vec![0, 1, 0xab, 0xff]));
        assert_eq!(read(r#""\\x""#), Some(vec![]));
    }

    #[test]
    fn invalid_text_is_rejected() {
        for wrong in [
            r#""Z""#,
            r#""Zg=""#,
            r#""Zg===""#,
            r#""Zm9v=""#,
            r#""Zm 9v""#,
            r#""Zm9_""#,
            r#""=""#,
            r#""Zg==Zg==""#,
            r#""\\xf""#,
            r#""\\xgg""#,
            "7",
            "[1, 2]",
            "null",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        let long = format!("{:?}", "é".repeat(1_000));
        let error = serde_json::from_str::<Bytes>(&long).expect_err("not base64");
        assert!(error.to_string().len() < 200, "{error}");
    }
}
