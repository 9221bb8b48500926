//! The part of URL parsing that the client needs.

use std::fmt::Display;

use crate::error::{Error, Result};

/// The URL of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// Whether the scheme is `https`.
    pub(crate) secure: bool,
    /// Host and, if given, port.
    pub(crate) authority: String,
    /// Begins with `/`.
    pub(crate) path_and_query: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = |reason: &str| {
            // Without the query, which often contains keys.
            let shown = text.split(['?', '#']).next().unwrap_or("");
            Err(Error::from_host(
                "invalid",
                format!("the URL `{shown}`: {reason}"),
            ))
        };
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return wrong("a URL begins with `https://` or `http://`"),
        };
        let rest = rest.split('#').next().unwrap_or("");
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.is_empty() || authority.starts_with(':') {
            return wrong("the host is missing");
        }
        if authority.contains('@') {
            return wrong("a user is not allowed: set the header `authorization` instead");
        }
        let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        if !is_plain(authority) {
            return wrong("write the host in ASCII, internationalized names in punycode");
        }
        if !is_plain(path) {
            return wrong("percent-encode spaces and non-ASCII characters, as in `%20`");
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Url {
            secure,
            authority: authority.to_owned(),
            path_and_query: format!("{slash}{path}"),
        })
    }

    /// For messages: without the query, which may contain keys.
    pub(crate) fn shown(&self) -> String {
        format!("{}://{}{}", self.scheme(), self.authority, self.path())
    }

    /// The URL with its query.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn whole(&self) -> String {
        format!(
            "{}://{}{}",
            self.scheme(),
            self.authority,
            self.path_and_query
        )
    }

    pub(crate) fn path(&self) -> &str {
        self.path_and_query.split('?').next().unwrap_or("/")
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}

/// `key=value`, percent-encoded except for ASCII letters, digits and `-._~`.
pub(crate) fn pair(key: &str, value: impl Display) -> String {
    let mut text = String::new();
    encode(key, &mut text);
    text.push('=');
    encode(&value.to_string(), &mut text);
    text
}

fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => into.push(char::from(b)),
            b => into.push_str(&format!("%{b:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_into_its_parts() {
        for (text, parts) in [
            ("https://a.example", (true, "a.example", "/")),
            ("HTTP://a:8080/b?c=d#e", (false, "a:8080", "/b?c=d")),
            ("https://[::1]?q", (true, "[::1]", "/?q")),
        ] {
            let url = Url::parse(text).expect("a URL");
            assert_eq!((url.secure, &*url.authority, &*url.path_and_query), parts);
        }
        assert_eq!(
            Url::parse("https://a/b?key=1").expect("a URL").shown(),
            "https://a/b"
        );
    }

    #[test]
    fn an_invalid_url_is_rejected_without_showing_its_query() {
        for (text, reason) in [
            ("a.example/b", "begins with"),
            ("ftp://a", "begins with"),
            ("https:///b", "host is missing"),
            ("https://:80/b", "host is missing"),
            ("https://me:pw@a/", "a user is not allowed"),
            ("https://bücher.example", "punycode"),
            ("https://a/b c?key=1", "spaces"),
            ("https://a/\r\nHost: b", "spaces"),
        ] {
            let error = Url::parse(text).expect_err("not a valid URL");
            assert!(error.message().contains(reason), "{error}");
            assert!(!error.message().contains("key"), "{error}");
            assert_eq!(error.code_text(), "invalid");
        }
    }

    #[test]
    fn pairs_are_encoded() {
        assert_eq!(pair("a b", "é&=1~"), "a%20b=%C3%A9%26%3D1~");
    }
}
