//! Postgres's decimal numbers, exactly.

use std::fmt::Write as _;

use crate::handler_sql::malformed::Malformed;

/// Formats the binary form: base-10,000 digits with a weight, a sign and a scale.
pub(super) fn decimal(raw: &[u8]) -> Result<String, Malformed> {
    let mut words = raw
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let mut word = || words.next().ok_or(Malformed);
    let n_digits = usize::from(word()?);
    let weight = i32::from(word()?.cast_signed());
    let sign = word()?;
    let scale = usize::from(word()?);
    match sign {
        0xC000 => return Ok("NaN".to_owned()),
        0xD000 => return Ok("Infinity".to_owned()),
        0xF000 => return Ok("-Infinity".to_owned()),
        _ => {}
    }
    let digits: Vec<u16> = (0..n_digits).map(|_| word()).collect::<Result<_, _>>()?;
    let digit = |place: i32| {
        let at = usize::try_from(weight - place).ok();
        at.and_then(|at| digits.get(at)).copied().unwrap_or(0)
    };

    let mut out = String::new();
    if sign == 0x4000 {
        out.push('-');
    }
    if weight < 0 {
        out.push('0');
    }
    for place in (0..=weight).rev() {
        if place == weight {
            write!(out, "{}", digit(place)).map_err(|_| Malformed)?;
        } else {
            write!(out, "{:04}", digit(place)).map_err(|_| Malformed)?;
        }
    }
    if scale > 0 {
        out.push('.');
        let end = out.len() + scale;
        let mut place = -1;
        while out.len() < end {
            write!(out, "{:04}", digit(place)).map_err(|_| Malformed)?;
            place -= 1;
        }
        out.truncate(end);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[u16]) -> Option<String> {
        let raw: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        decimal(&raw).ok()
    }

    #[test]
    fn decimals_are_written_as_postgres_writes_them() {
        // Digits, weight, sign, scale, then the digits.
        assert_eq!(of(&[0, 0, 0, 0]).as_deref(), Some("0"));
        assert_eq!(of(&[2, 1, 0, 0, 12, 34]).as_deref(), Some("120034"));
        assert_eq!(of(&[1, 1, 0, 0, 5]).as_deref(), Some("50000"));
        assert_eq!(of(&[2, 0, 0x4000, 2, 1, 2500]).as_deref(), Some("-1.25"));
        assert_eq!(of(&[1, 0xFFFE, 0, 8, 1]).as_deref(), Some("0.00000001"));
        assert_eq!(of(&[0, 0, 0xC000, 0]).as_deref(), Some("NaN"));
        assert_eq!(of(&[3, 0, 0, 0, 1]), None);
    }
}
