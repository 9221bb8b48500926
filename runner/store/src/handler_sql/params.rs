//! Encodes a statement's parameters: from JSON to Postgres's text format.
//!
//! Parameters are sent as text, so that the server itself converts "2026-01-01" to a date and
//! "\\x6869" to bytes, for every type it has. A value that was read from a column can be sent
//! back unchanged.

use bytes::BytesMut;
use serde::Deserializer as _;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tokio_postgres::types::{Format, IsNull, Kind, ToSql, Type, to_sql_checked};

use pgtq_task::GuestError;

/// Maximum nesting of arrays, as in Postgres.
const MAX_DEPTH: usize = 6;
/// Maximum parameters of a statement; the protocol counts them in 16 bits.
const MAX_PARAMS: usize = 65_535;

/// One parameter, as text; `None` is NULL.
pub(super) struct HandlerParam(Option<String>);

/// Splits the JSON array; an empty text is an empty array.
pub(super) fn split(params: &str) -> Result<Vec<&RawValue>, GuestError> {
    if params.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = Vec::new();
    let each = |value| match values.len() {
        MAX_PARAMS => Err(format!("a statement has at most {MAX_PARAMS} parameters")),
        _ => {
            values.push(value);
            Ok(())
        }
    };
    each_item(params, each).map_err(|error| {
        invalid(format!(
            "the parameters cannot be read as a JSON array: {error}"
        ))
    })?;
    Ok(values)
}

/// Calls `each` with every item of a JSON array, one at a time: a list of them would take
/// several times the memory of the text, and only the text counts against the limit.
fn each_item<'a, F>(array: &'a str, each: F) -> serde_json::Result<()>
where
    F: FnMut(&'a RawValue) -> Result<(), String>,
{
    struct Items<F>(F);
    impl<'de, F> Visitor<'de> for Items<F>
    where
        F: FnMut(&'de RawValue) -> Result<(), String>,
    {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
            while let Some(item) = items.next_element()? {
                (self.0)(item).map_err(A::Error::custom)?;
            }
            Ok(())
        }
    }
    let mut reader = serde_json::Deserializer::from_str(array);
    reader.deserialize_seq(Items(each))?;
    reader.end()
}

/// Turns each value into the text of the type that the statement expects.
pub(super) fn convert(
    values: &[&RawValue],
    types: &[Type],
) -> Result<Vec<HandlerParam>, GuestError> {
    if values.len() != types.len() {
        return Err(invalid(format!(
            "the statement has {} parameters ($1, $2, ...), and {} values were given",
            types.len(),
            values.len()
        )));
    }
    let each = values.iter().zip(types).enumerate();
    each.map(|(n, (value, ty))| {
        text(value, ty, 0)
            .map(HandlerParam)
            .map_err(|what| invalid(format!("parameter ${}: {what}", n + 1)))
    })
    .collect()
}

fn text(value: &RawValue, ty: &Type, depth: usize) -> Result<Option<String>, String> {
    let raw = value.get();
    if raw == "null" {
        return Ok(None);
    }
    if let Kind::Domain(base) = ty.kind() {
        return text(value, base, depth);
    }
    if *ty == Type::JSON || *ty == Type::JSONB {
        return Ok(Some(raw.to_owned()));
    }
    if raw.starts_with('"') {
        let text: String =
            serde_json::from_str(raw).map_err(|error| format!("not a text: {error}"))?;
        if text.contains('\0') {
            return Err("a text for Postgres cannot contain a NUL character".to_owned());
        }
        return Ok(Some(text));
    }
    match ty.kind() {
        Kind::Array(element) if raw.starts_with('[') => array(raw, element, depth).map(Some),
        Kind::Array(_) => Err(format!(
            "{} takes an array",
            ty.name().trim_start_matches('_')
        )),
        // Numbers stay as they were written, so that none is rounded here; for any other type,
        // an array or object becomes its JSON text.
        _ => Ok(Some(raw.to_owned())),
    }
}

/// An array as Postgres writes it: `{"1",NULL,{"2"}}`.
fn array(raw: &str, element: &Type, depth: usize) -> Result<String, String> {
    if depth == MAX_DEPTH {
        return Err(format!("arrays have at most {MAX_DEPTH} dimensions"));
    }
    let mut out = String::from("{");
    let each = |item: &RawValue| {
        if out.len() > 1 {
            out.push(',');
        }
        let is_json = *element == Type::JSON || *element == Type::JSONB;
        if item.get().starts_with('[') && !is_json {
            out.push_str(&array(item.get(), element, depth + 1)?);
            return Ok(());
        }
        match text(item, element, depth + 1)? {
            None => out.push_str("NULL"),
            Some(text) => {
                out.push('"');
                for c in text.chars() {
                    if c == '"' || c == '\\' {
                        out.push('\\');
                    }
                    out.push(c);
                }
                out.push('"');
            }
        }
        Ok(())
    };
    each_item(raw, each).map_err(|error| error.to_string())?;
    out.push('}');
    Ok(out)
}

fn invalid(message: String) -> GuestError {
    GuestError::new("invalid", message)
}

impl std::fmt::Debug for HandlerParam {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HandlerParam(..)")
    }
}

impl ToSql for HandlerParam {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match &self.0 {
            None => Ok(IsNull::Yes),
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn one(json: &str, ty: Type) -> Result<Option<String>, String> {
        let values = split(json).expect("an array");
        convert(&values, &[ty])
            .map(|mut all| all.remove(0).0)
            .map_err(|problem| problem.message)
    }

    #[test]
    fn a_value_becomes_the_text_of_its_type() {
        let cases = [
            ("[null]", Type::INT8, None),
            (
                "[12345678901234567890.5]",
                Type::NUMERIC,
                Some("12345678901234567890.5"),
            ),
            ("[true]", Type::BOOL, Some("true")),
            (r#"["2026-01-01"]"#, Type::DATE, Some("2026-01-01")),
            (r#"["\\x6869"]"#, Type::BYTEA, Some(r"\x6869")),
            (r#"["a\"b"]"#, Type::JSONB, Some(r#""a\"b""#)),
            (r#"[{"a": 1}]"#, Type::JSON, Some(r#"{"a": 1}"#)),
            ("[[1, 2]]", Type::JSONB, Some("[1, 2]")),
            (
                "[[1, null, 3]]",
                Type::INT4_ARRAY,
                Some(r#"{"1",NULL,"3"}"#),
            ),
            ("[[[1], [2]]]", Type::INT4_ARRAY, Some(r#"{{"1"},{"2"}}"#)),
            (
                r#"[["a,\"b\\", "null"]]"#,
                Type::TEXT_ARRAY,
                Some(r#"{"a,\"b\\","null"}"#),
            ),
            (
                r#"[[[1], "x"]]"#,
                Type::JSONB_ARRAY,
                Some(r#"{"[1]","\"x\""}"#),
            ),
            (r#"["{1,2}"]"#, Type::INT4_ARRAY, Some("{1,2}")),
        ];
        for (json, ty, wanted) in cases {
            assert_eq!(one(json, ty).expect(json).as_deref(), wanted, "{json}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_is_rejected_with_its_number() {
        assert!(split("{}").is_err());
        assert!(split("[1] 2").is_err());
        let many = |n| format!("[{}]", vec!["1"; n].join(","));
        assert_eq!(
            split(&many(MAX_PARAMS)).expect("the maximum").len(),
            MAX_PARAMS
        );
        let problem = split(&many(MAX_PARAMS + 1)).expect_err("too many");
        assert!(problem.message.contains("at most 65535"), "{problem:?}");
        assert!(one("[]", Type::INT4).is_err_and(|text| text.contains("0 values")));
        assert!(one("[1]", Type::INT4_ARRAY).is_err_and(|text| text.contains("$1")));
        assert!(one(r#"["\u0000"]"#, Type::TEXT).is_err());
        let deep = format!("[{}{}]", "[".repeat(50_000), "]".repeat(50_000));
        assert!(one(&deep, Type::INT4_ARRAY).is_err());
    }
}
