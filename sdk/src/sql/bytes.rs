//! `bytea` as Postgres writes it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};

/// Bytes for a `bytea` parameter, and from a `bytea` column.
#[derive(Clone, PartialEq, Eq, Default)]
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

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(2 + 2 * self.0.len());
        text.push_str("\\x");
        for byte in &self.0 {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Hex)
    }
}

struct Hex;

impl Visitor<'_> for Hex {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes as `\\x` and hexadecimal digits")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
        let wrong = || E::invalid_value(serde::de::Unexpected::Str(text), &self);
        let digits = text.strip_prefix("\\x").ok_or_else(wrong)?.as_bytes();
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let byte = |pair: &[u8]| match pair {
            [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
        bytes.map(Bytes).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_and_read_as_postgres_does() {
        let bytes = Bytes::from([0_u8, 1, 0xab, 0xff]);
        let json = serde_json::to_string(&bytes).expect("a text");
        assert_eq!(json, r#""\\x0001abff""#);
        assert_eq!(
            serde_json::from_str::<Bytes>(&json).expect("the same"),
            bytes
        );
        assert_eq!(
            serde_json::from_str::<Bytes>(r#""\\x""#).expect("none").0,
            b""
        );
        for wrong in [r#""ff""#, r#""\\xf""#, r#""\\xgg""#, "7"] {
            assert!(serde_json::from_str::<Bytes>(wrong).is_err(), "{wrong}");
        }
    }
}
