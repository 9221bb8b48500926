//! Decodes one column value from Postgres's binary format to JSON.
//!
//! Numbers stay exact: integers become JSON numbers, decimals become text. Written by hand for
//! the types that handlers use; every other type can be cast to text.

use std::fmt::Write as _;

use tokio_postgres::types::{Kind, Type};

use crate::handler_sql::malformed::Malformed;
use crate::handler_sql::{numeric, times};

/// Maximum array dimensions, as in Postgres.
const MAX_DIMENSIONS: i32 = 6;

/// Whether columns of this type can be read.
pub(super) fn is_readable(ty: &Type) -> bool {
    match ty.kind() {
        Kind::Array(element) => is_readable(element),
        Kind::Domain(base) => is_readable(base),
        Kind::Enum(_) => true,
        _ => is_text(ty) || is_plain(ty),
    }
}

fn is_text(ty: &Type) -> bool {
    [
        Type::TEXT,
        Type::VARCHAR,
        Type::BPCHAR,
        Type::NAME,
        Type::UNKNOWN,
        Type::XML,
    ]
    .contains(ty)
        || ty.name() == "citext"
}

fn is_plain(ty: &Type) -> bool {
    [
        Type::BOOL,
        Type::CHAR,
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::OID,
        Type::FLOAT4,
        Type::FLOAT8,
        Type::NUMERIC,
        Type::JSON,
        Type::JSONB,
        Type::UUID,
        Type::BYTEA,
        Type::DATE,
        Type::TIME,
        Type::TIMESTAMP,
        Type::TIMESTAMPTZ,
        Type::INTERVAL,
        Type::VOID,
    ]
    .contains(ty)
}

/// Appends the value as JSON. Stops with `Malformed` soon after `out` exceeds `most` bytes: a
/// few bytes of a decimal array can expand to many bytes of JSON.
pub(super) fn write(out: &mut String, ty: &Type, raw: &[u8], most: usize) -> Result<(), Malformed> {
    match ty.kind() {
        Kind::Array(element) => return array(out, element, raw, most),
        Kind::Domain(base) => return write(out, base, raw, most),
        Kind::Enum(_) => return text(out, raw),
        _ if is_text(ty) => return text(out, raw),
        _ => {}
    }
    let at = &mut { raw };
    match *ty {
        Type::VOID => out.push_str("null"),
        Type::BOOL => out.push_str(if raw == [0] { "false" } else { "true" }),
        Type::CHAR => quote(
            out,
            &raw.first()
                .filter(|byte| **byte != 0)
                .map_or(String::new(), |byte| char::from(*byte).to_string()),
        ),
        Type::INT2 => push(out, i16::from_be_bytes(take(at)?)),
        Type::INT4 => push(out, i32::from_be_bytes(take(at)?)),
        Type::INT8 => push(out, i64::from_be_bytes(take(at)?)),
        Type::OID => push(out, u32::from_be_bytes(take(at)?)),
        Type::FLOAT4 => {
            let value = f32::from_be_bytes(take(at)?);
            float(out, f64::from(value), serde_json::to_string(&value).ok());
        }
        Type::FLOAT8 => {
            let value = f64::from_be_bytes(take(at)?);
            float(out, value, serde_json::to_string(&value).ok());
        }
        Type::NUMERIC => quote(out, &numeric::decimal(raw)?),
        Type::JSON => out.push_str(utf8(raw)?),
        // A version byte precedes the text; there is only one version.
        Type::JSONB => out.push_str(utf8(raw.get(1..).ok_or(Malformed)?)?),
        Type::UUID => uuid(out, raw)?,
        Type::BYTEA => bytes(out, raw),
        Type::DATE => quote(
            out,
            &times::date(i32::from_be_bytes(take(at)?)).ok_or(Malformed)?,
        ),
        Type::TIME => quote(out, &times::time(i64::from_be_bytes(take(at)?))),
        Type::TIMESTAMP => {
            quote(
                out,
                &times::timestamp(i64::from_be_bytes(take(at)?)).ok_or(Malformed)?,
            );
        }
        Type::TIMESTAMPTZ => {
            quote(
                out,
                &times::timestamptz(i64::from_be_bytes(take(at)?)).ok_or(Malformed)?,
            );
        }
        Type::INTERVAL => {
            let micros = i64::from_be_bytes(take(at)?);
            let days = i32::from_be_bytes(take(at)?);
            let months = i32::from_be_bytes(take(at)?);
            quote(out, &times::interval(micros, days, months));
        }
        _ => return Err(Malformed),
    }
    Ok(())
}

/// Appends a JSON string.
pub(super) fn quote(out: &mut String, text: &str) {
    match serde_json::to_string(text) {
        Ok(quoted) => out.push_str(&quoted),
        Err(_) => out.push_str("\"\""),
    }
}

fn text(out: &mut String, raw: &[u8]) -> Result<(), Malformed> {
    quote(out, utf8(raw)?);
    Ok(())
}

fn utf8(raw: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(raw).map_err(|_| Malformed)
}

fn push(out: &mut String, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{value}");
}

/// JSON has no infinity and no NaN: they become text, as Postgres writes them.
fn float(out: &mut String, value: f64, finite: Option<String>) {
    match finite.filter(|_| value.is_finite()) {
        Some(text) => out.push_str(&text),
        None if value.is_nan() => out.push_str("\"NaN\""),
        None if value > 0.0 => out.push_str("\"Infinity\""),
        None => out.push_str("\"-Infinity\""),
    }
}

fn uuid(out: &mut String, raw: &[u8]) -> Result<(), Malformed> {
    if raw.len() != 16 {
        return Err(Malformed);
    }
    out.push('"');
    for (n, byte) in raw.iter().enumerate() {
        if [4, 6, 8, 10].contains(&n) {
            out.push('-');
        }
        push(out, format_args!("{byte:02x}"));
    }
    out.push('"');
    Ok(())
}

fn bytes(out: &mut String, raw: &[u8]) {
    out.push_str("\"\\\\x");
    for byte in raw {
        push(out, format_args!("{byte:02x}"));
    }
    out.push('"');
}

fn array(out: &mut String, element: &Type, raw: &[u8], most: usize) -> Result<(), Malformed> {
    let at = &mut { raw };
    let n_dimensions = i32::from_be_bytes(take(at)?);
    let _has_nulls: [u8; 4] = take(at)?;
    let _type: [u8; 4] = take(at)?;
    if !(0..=MAX_DIMENSIONS).contains(&n_dimensions) {
        return Err(Malformed);
    }
    let mut lengths = Vec::new();
    for _ in 0..n_dimensions {
        lengths.push(i32::from_be_bytes(take(at)?));
        let _lower_bound: [u8; 4] = take(at)?;
    }
    if lengths.is_empty() {
        out.push_str("[]");
        return Ok(());
    }
    level(out, element, &lengths, at, most)
}

fn level(
    out: &mut String,
    element: &Type,
    lengths: &[i32],
    at: &mut &[u8],
    most: usize,
) -> Result<(), Malformed> {
    if out.len() > most {
        return Err(Malformed);
    }
    let Some((&length, inner)) = lengths.split_first() else {
        let length = i32::from_be_bytes(take(at)?);
        let Ok(length) = usize::try_from(length) else {
            out.push_str("null");
            return Ok(());
        };
        let (head, tail) = at.split_at_checked(length).ok_or(Malformed)?;
        *at = tail;
        return write(out, element, head, most);
    };
    out.push('[');
    for n in 0..length {
        if n > 0 {
            out.push(',');
        }
        level(out, element, inner, at, most)?;
    }
    out.push(']');
    Ok(())
}

fn take<const N: usize>(at: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (head, tail) = at.split_first_chunk::<N>().ok_or(Malformed)?;
    *at = tail;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_value_is_malformed_and_does_not_panic() {
        for ty in [
            Type::INT4,
            Type::INT8,
            Type::FLOAT8,
            Type::NUMERIC,
            Type::JSONB,
            Type::UUID,
            Type::DATE,
            Type::TIMESTAMPTZ,
            Type::INTERVAL,
            Type::INT4_ARRAY,
        ] {
            let mut out = String::new();
            assert!(write(&mut out, &ty, &[], 100).is_err(), "{ty}");
        }
        // An array header that declares two billion items, with none following.
        let raw = [
            0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 127, 255, 255, 255, 0, 0, 0, 1,
        ];
        assert!(write(&mut String::new(), &Type::INT4_ARRAY, &raw, 100).is_err());
    }

    #[test]
    fn an_array_of_decimals_stops_soon_after_the_limit() {
        const MOST: usize = 1 << 20;
        const N: u32 = 10_000;
        // 1e131071 has 10 bytes on the wire, and 131,072 digits.
        let number = [0, 1, 0x7f, 0xff, 0, 0, 0, 0, 3, 0xe8];
        let mut raw = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 6, 164];
        raw.extend(N.to_be_bytes());
        raw.extend([0, 0, 0, 1]);
        for _ in 0..N {
            raw.extend([0, 0, 0, 10]);
            raw.extend(number);
        }
        let mut out = String::new();
        assert!(write(&mut out, &Type::NUMERIC_ARRAY, &raw, MOST).is_err());
        assert!(
            out.len() > MOST && out.len() < MOST + 200_000,
            "{}",
            out.len()
        );
    }
}
