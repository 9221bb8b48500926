//! Numbers with units: `30s`, `1h30m`, `64MiB`. To Rust's lexer each is one
//! integer literal with a suffix, which no other code ever looks at.

use syn::{Lit, LitInt};

/// Milliseconds of `30s`, `500ms`, `1h30m`, `7d`.
pub(crate) fn duration_ms(literal: &Lit) -> syn::Result<u64> {
    let text = number_text(literal, "30s")?;
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let message = format!("a duration needs a unit: write `{text}s` (or ms, m, h, d)");
        return Err(syn::Error::new_spanned(literal, message));
    }
    let mut total: u64 = 0;
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (digits, after) = split(rest, |b| b.is_ascii_digit());
        let (unit, next) = split(after, |b| !b.is_ascii_digit());
        let scale = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => {
                let message =
                    format!("`{unit}` is no unit of time: write ms, s, m, h or d, as in `30s`");
                return Err(syn::Error::new_spanned(literal, message));
            }
        };
        total = digits
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(scale))
            .and_then(|ms| total.checked_add(ms))
            .ok_or_else(|| syn::Error::new_spanned(literal, "this duration is too long"))?;
        rest = next;
    }
    if total == 0 {
        return Err(syn::Error::new_spanned(
            literal,
            "a duration is at least `1ms`",
        ));
    }
    Ok(total)
}

/// Bytes of `64MiB`.
pub(crate) fn bytes(literal: &Lit) -> syn::Result<u64> {
    let text = number_text(literal, "64MiB")?;
    let (digits, unit) = split(&text, |b| b.is_ascii_digit());
    let scale: u64 = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "" => {
            let message = format!("a size needs a unit: write `{digits}MiB` (or KiB, GiB)");
            return Err(syn::Error::new_spanned(literal, message));
        }
        _ => {
            let message =
                format!("`{unit}` is no unit of memory: write KiB, MiB or GiB, as in `64MiB`");
            return Err(syn::Error::new_spanned(literal, message));
        }
    };
    let count = digits.parse::<u64>().ok().filter(|&count| count > 0);
    count
        .and_then(|count| count.checked_mul(scale))
        .ok_or_else(|| {
            syn::Error::new_spanned(literal, "a size is from `1KiB` to what 64 bits hold")
        })
}

/// A plain whole number.
pub(crate) fn count<N>(literal: &Lit, example: &str) -> syn::Result<N>
where
    N: std::str::FromStr,
    N::Err: std::fmt::Display,
{
    match literal {
        Lit::Int(number) if number.suffix().is_empty() => number.base10_parse(),
        other => Err(syn::Error::new_spanned(
            other,
            format!("write a whole number, as in `{example}`"),
        )),
    }
}

/// The literal without underscores, if it is a whole number.
fn number_text(literal: &Lit, example: &str) -> syn::Result<String> {
    match literal {
        Lit::Int(number) => Ok(plain(number)),
        Lit::Str(_) => Err(syn::Error::new_spanned(
            literal,
            format!("no quotes here: write `{example}`"),
        )),
        other => Err(syn::Error::new_spanned(
            other,
            format!("write a whole number with a unit, as in `{example}`"),
        )),
    }
}

fn plain(number: &LitInt) -> String {
    format!("{}{}", number.base10_digits(), number.suffix())
}

fn split(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|b| !belongs(b)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Lit {
        syn::parse_str(text).expect("the test writes a literal")
    }

    #[test]
    fn durations_are_whole_numbers_with_units() {
        for (text, ms) in [
            ("30s", 30_000),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("2min", 120_000),
            ("1_000s", 1_000_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(duration_ms(&literal(text)).ok(), Some(ms), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_unit_is_said() {
        for (text, message) in [
            (
                "30",
                "a duration needs a unit: write `30s` (or ms, m, h, d)",
            ),
            (
                "30sec",
                "`sec` is no unit of time: write ms, s, m, h or d, as in `30s`",
            ),
            ("\"30s\"", "no quotes here: write `30s`"),
            ("1.5", "write a whole number with a unit, as in `30s`"),
            ("0s", "a duration is at least `1ms`"),
            ("99999999999999999999d", "this duration is too long"),
        ] {
            let error = duration_ms(&literal(text)).expect_err("this is no duration");
            assert_eq!(error.to_string(), message, "{text}");
        }
        let error = bytes(&literal("64MB")).expect_err("this is no size");
        assert_eq!(
            error.to_string(),
            "`MB` is no unit of memory: write KiB, MiB or GiB, as in `64MiB`"
        );
        assert_eq!(bytes(&literal("64MiB")).ok(), Some(64 << 20));
    }
}
