//! The destination of a request, in the form that rules check.

use wasmtime_wasi_http::Error;

use crate::attempt::access::Access;
use crate::attempt::denied::{Denied, list};
use crate::capability::http::error::Refusal;
use pgtq_task::{Destination, HttpRule, host, toml_text};

/// Characters of a path that are shown.
const PATH_SHOWN: usize = 200;

/// The destination of a request, parsed once and used by every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestTarget {
    method: String,
    pub(super) secure: bool,
    pub(super) host: String,
    port: u16,
    /// Without the query, which may contain secrets that must not be logged.
    path: String,
}

impl RequestTarget {
    /// Parses a request's target; rejects ambiguous ones.
    pub(super) fn read(parts: &http::request::Parts) -> Result<RequestTarget, Refusal> {
        let uri = &parts.uri;
        let wrong = |why: &str| {
            Refusal::Wrong(
                Error::HttpRequestUriInvalid,
                format!("denied a request: {why}"),
            )
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err(wrong(
                "a URL with a user or password in it; send an `authorization` header instead",
            ));
        }
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("the scheme is neither `https` nor `http`")),
        };
        let name = uri.host().unwrap_or_default();
        let host = host(name).map_err(|why| wrong(&why))?;
        let port = match authority.strip_prefix(name) {
            None | Some("") => standard_port(secure),
            Some(port) => match port.strip_prefix(':').map(str::parse) {
                Some(Ok(port)) if port > 0 => port,
                _ => return Err(wrong(&format!("`{port}` is not a port"))),
            },
        };
        let method = parts.method.as_str().to_owned();
        if method == "CONNECT" || !method.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(Refusal::Wrong(
                Error::HttpRequestMethodInvalid,
                format!("denied a request: `{method}` is not a method that a rule could grant"),
            ));
        }
        Ok(RequestTarget {
            method,
            secure,
            host,
            port,
            path: uri.path().to_owned(),
        })
    }

    /// `https://api.example.com:8443`, with the port only if it is not the scheme's
    /// default.
    pub(super) fn origin(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// For a tunnel: always with the port.
    pub(super) fn host_and_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The value of the `host` header.
    pub(super) fn authority(&self) -> String {
        match self.port == standard_port(self.secure) {
            true => self.host.clone(),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Whether servers answer by echoing the request and its headers.
    pub(super) fn is_echoed(&self) -> bool {
        matches!(&*self.method, "TRACE" | "TRACK")
    }

    /// For messages: `GET https://api.example.com/v1/users`.
    pub(super) fn what(&self) -> String {
        let shown: String = self.path.chars().take(PATH_SHOWN).collect();
        let cut = if shown.len() < self.path.len() {
            "…"
        } else {
            ""
        };
        format!("{} {}{shown}{cut}", self.method, self.origin())
    }

    /// The destination, if the handler requests this request and the operator grants it.
    pub(super) fn check(&self, access: Option<&Access>) -> Result<Destination, Refusal> {
        let asks = access.is_some_and(|access| access.needs().http.iter().any(|r| self.fits(r)));
        let granted: &[HttpRule] = access.map_or(&[], |access| &access.grant().http);
        let mut fitting = granted.iter().filter(|rule| self.fits(rule)).peekable();
        let grants = fitting.peek().is_some();
        if asks && grants {
            return Ok(Destination {
                host: self.host.clone(),
                port: self.port,
                named: fitting.any(|rule| rule.host.is_exact()),
            });
        }
        let (method, host) = (&*self.method, &*self.host);
        let rule = HttpRule::narrowest(method, self.secure, host, self.port, &self.path);
        let Some(rule) = rule.map(|rule| rule.to_string()) else {
            let line = format!(
                "denied {}: no rule with a path can allow this path; ask for it without `.` and `..`, percent-encoded dots, slashes and semicolons, or `*`",
                self.what()
            );
            return Err(Refusal::Wrong(Error::HttpRequestDenied, line));
        };
        let rules: Vec<String> = granted.iter().map(HttpRule::to_string).collect();
        let denied = Denied {
            what: self.what(),
            need: (!asks).then(|| format!("http = {}", toml_text(&rule))),
            grant: (!grants).then(|| list("http", rules, rule)),
        };
        Err(Refusal::Denied(denied, Error::HttpRequestDenied))
    }

    fn fits(&self, rule: &HttpRule) -> bool {
        rule.allows(&self.method, self.secure, &self.host, self.port, &self.path)
    }
}

fn standard_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}
