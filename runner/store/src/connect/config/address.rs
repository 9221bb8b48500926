//! Parses the two forms of a database address into the parameters that pgtq handles and the rest
//! for tokio-postgres.

use percent_encoding::percent_decode_str;

/// Parameters of libpq that change nothing for us.
pub(super) const IGNORED: [&str; 9] = [
    "gssencmode",
    "krbsrvname",
    "sslcompression",
    "sslsni",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "fallback_application_name",
    "uselibpqcompat",
    "client_encoding",
];

fn is_ours(key: &str) -> bool {
    const OURS: [&str; 11] = [
        "sslmode",
        "sslrootcert",
        "connect_timeout",
        "target_session_attrs",
        "pgbouncer",
        "schema",
        "sslcert",
        "sslkey",
        "sslpassword",
        "passfile",
        "service",
    ];
    OURS.contains(&key) || IGNORED.contains(&key)
}

pub(super) type Pairs = Vec<(String, String)>;

pub(super) fn split_url(url: &str) -> (String, Pairs) {
    let Some((base, query)) = url.split_once('?') else {
        return (url.to_owned(), Pairs::new());
    };
    let mut kept = Vec::new();
    let mut ours = Pairs::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some((key, value)) if is_ours(key) || ["host", "port"].contains(&key) => {
                let value = percent_decode_str(value).decode_utf8_lossy();
                ours.push((key.to_owned(), value.into_owned()));
            }
            _ => kept.push(part),
        }
    }
    let url = match kept.as_slice() {
        [] => base.to_owned(),
        parts => format!("{base}?{}", parts.join("&")),
    };
    (url, ours)
}

pub(super) fn split_pairs(text: &str) -> (String, Pairs) {
    let mut kept = String::new();
    let mut ours = Pairs::new();
    let mut rest = text.trim_start();
    while let Some((key, tail)) = rest.split_once('=') {
        let (value, raw, tail) = take_value(tail.trim_start());
        let key = key.trim();
        if is_ours(key) {
            ours.push((key.to_owned(), value));
        } else {
            kept.push_str(&format!("{key}={raw} "));
        }
        rest = tail.trim_start();
    }
    kept.push_str(rest);
    (kept, ours)
}

/// The first value of `text`: unquoted, as written, and the rest.
fn take_value(text: &str) -> (String, &str, &str) {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(usize::from(quoted)) {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '\'' if quoted => return (value, &text[..=i], &text[i + 1..]),
            c if c.is_whitespace() && !quoted => return (value, &text[..i], &text[i..]),
            c => value.push(c),
        }
    }
    (value, text, "")
}
