//! The proxy for HTTP requests of plugins, if the operator configures one.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use pgtq_contract::host;

use crate::grant::Secret;

/// `http://user:password@proxy.example.com:3128`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpProxy {
    /// In the form of [`pgtq_contract::host()`].
    pub host: String,
    /// Its port.
    pub port: u16,
    /// `user:password`, if the proxy requires them.
    pub credentials: Option<Secret>,
}

impl FromStr for HttpProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The error does not repeat the text: it may contain a password.
        let wrong = || "not a proxy: write `http://proxy.example.com:3128`".to_owned();
        let rest = text.trim().strip_prefix("http://").ok_or_else(wrong)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, authority) = match rest.rsplit_once('@') {
            Some((credentials, authority)) => (Some(credentials), authority),
            None => (None, rest),
        };
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, port.parse().ok()),
            _ => (authority, Some(80)),
        };
        let credentials = credentials.map(decode).transpose()?;
        Ok(HttpProxy {
            host: host(name).map_err(|_| wrong())?,
            port: port.filter(|port| *port > 0).ok_or_else(wrong)?,
            credentials: credentials.map(Secret::new),
        })
    }
}

impl fmt::Display for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Decodes percent-encoding: a password may contain `@` or `:`.
fn decode(text: &str) -> Result<String, String> {
    let wrong = || "the password of the proxy is not percent-encoded correctly".to_owned();
    // The library leaves an escape that is none as it is.
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_escape) {
        return Err(wrong());
    }
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| wrong())?.into_owned();
    match decoded.chars().any(char::is_control) {
        true => Err(wrong()),
        false => Ok(decoded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host_a_port_and_perhaps_credentials() {
        let proxy: HttpProxy = "http://me:p%40ss%3A@Proxy.example:3128/"
            .parse()
            .expect("one");
        assert_eq!(proxy.to_string(), "proxy.example:3128");
        let credentials = proxy.credentials.as_ref().map(Secret::reveal);
        assert_eq!(credentials, Some("me:p@ss:"));
        assert!(!format!("{proxy:?}").contains("p@ss"));
        let proxy: HttpProxy = "http://[::1]".parse().expect("one");
        assert_eq!(proxy.to_string(), "[::1]:80");
    }

    #[test]
    fn an_invalid_proxy_is_reported_without_its_password() {
        for text in [
            "proxy:3128",
            "https://me:secret@proxy",
            "socks5://me:secret@proxy:1080",
            "http://me:secret@proxy:0",
            "http://me:secret@proxy:x",
            "http://me:secret%zz@proxy",
            "http://me:secret%0a@proxy",
            "http://me:secret@",
            "http://me:secret@proxy/path",
        ] {
            let error = text.parse::<HttpProxy>().expect_err("none");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
