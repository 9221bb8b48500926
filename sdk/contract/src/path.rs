//! URL paths: detects paths that a server could resolve to a different one.

/// Characters that some servers turn into a dot or a slash before they look for the
/// resource: full-width and small forms, leaders, fractions.
const LOOK_ALIKES: [char; 14] = [
    '\u{2024}', '\u{2025}', '\u{2026}', '\u{2044}', '\u{2215}', '\u{2216}', '\u{29f8}', '\u{29f9}',
    '\u{3002}', '\u{fe52}', '\u{fe68}', '\u{ff0e}', '\u{ff0f}', '\u{ff3c}',
];

/// Whether a server could resolve the path to one with a different prefix: by dots, by a second
/// decoding, or by a lenient one. A rule with a path cannot be checked against such a path.
pub(crate) fn is_ambiguous(path: &str) -> bool {
    // Some servers drop the text after a semicolon, and resolve the dots then.
    let name = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    if path.contains('\\') || path.split('/').any(name) {
        return true;
    }
    let decoded = percent_decoded(path);
    // What is left of an escape that is not two hexadecimal digits (`%u002e`), or an
    // escaped `%`.
    if decoded.contains(&b'%') {
        return true;
    }
    // An escape of a character that has a meaning in a path.
    let count = |bytes: &[u8], byte: u8| bytes.iter().filter(|found| **found == byte).count();
    if (b"./\\;".iter()).any(|byte| count(&decoded, *byte) != count(path.as_bytes(), *byte)) {
        return true;
    }
    // Overlong forms such as `%c0%ae` are not UTF-8 at all.
    let Ok(decoded) = String::from_utf8(decoded) else {
        return true;
    };
    decoded
        .chars()
        .any(|c| c.is_control() || LOOK_ALIKES.contains(&c))
}

/// Decodes each escape of two hexadecimal digits, once; any other `%` stays.
fn percent_decoded(path: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let mut rest = path.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let [byte, after @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => digit(high).zip(digit(low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                decoded.push((high * 16 + low) as u8);
                rest = &rest[3..];
            }
            None => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_several_readings_is_ambiguous() {
        for path in [
            "/v1/../x",
            "/v1/./x",
            "/v1/..;/x",
            "/v1/%2e%2e/x",
            "/v1/%2E./x",
            "/v1/a%2fb",
            "/v1/a%5cb",
            "/v1/a\\b",
            "/v1/%252e%252e/x",
            "/v1/a%3bb",
            // Overlong forms of a dot, two to four bytes, and of a slash.
            "/v1/%c0%ae%c0%ae/x",
            "/v1/%C0%AE%C0%AE/x",
            "/v1/%e0%80%ae%e0%80%ae/x",
            "/v1/%f0%80%80%ae/x",
            "/v1/%c0%af",
            "/v1/%c1%9c",
            // Full width, and the form of old Windows servers.
            "/v1/%ef%bc%8e%ef%bc%8e/x",
            "/v1/%ef%bc%8f",
            "/v1/．．/x",
            "/v1/%u002e%u002e/x",
            "/v1/%u2215",
            // Characters that end a string, or a line, elsewhere.
            "/v1/x%00",
            "/v1/x%0d%0a",
            "/v1/%",
            "/v1/%2",
            "/v1/%zz",
        ] {
            assert!(is_ambiguous(path), "{path}");
        }
    }

    #[test]
    fn an_ordinary_path_is_not_ambiguous() {
        for path in [
            "/",
            "/v1/users/7",
            "/v1/a.b/..c/d..",
            "/v1/caf%C3%A9",
            "/v1/日本",
            "/v1/a%20b%40c",
            "/v1/x;y=1",
        ] {
            assert!(!is_ambiguous(path), "{path}");
        }
    }
}
