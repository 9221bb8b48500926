//! The destination of a request, in the form that rules check.

use std::ops::Deref;

use wasmtime_wasi_http::Error;

use crate::attempt::access::Access;
use crate::attempt::denied::{Denied, list};
use crate::capability::http::error::HttpFailure;
use pgtq_task::{Destination, HttpRule, HttpTarget, TargetError, toml_text};

/// Characters of a path that are shown.
const PATH_SHOWN: usize = 200;

/// The destination of a request, parsed once and used by every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestTarget(HttpTarget);

impl RequestTarget {
    /// Parses a request's target; rejects ambiguous ones.
    pub(super) fn read(parts: &http::request::Parts) -> Result<RequestTarget, HttpFailure> {
        let uri = &parts.uri;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let scheme = uri.scheme_str().unwrap_or_default();
        let target = HttpTarget::read(parts.method.as_str(), scheme, authority, uri.path());
        let target = target.map_err(|error| {
            let (code, why) = match error {
                TargetError::Method(why) => (Error::HttpRequestMethodInvalid, why),
                TargetError::Url(why) => (Error::HttpRequestUriInvalid, why),
            };
            HttpFailure::Wrong(code, format!("denied a request: {why}"))
        })?;
        Ok(RequestTarget(target))
    }

    /// For a tunnel: always with the port.
    pub(super) fn host_and_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
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
    pub(super) fn check(&self, access: Option<&Access>) -> Result<Destination, HttpFailure> {
        let asks =
            access.is_some_and(|access| access.needs().http.iter().any(|rule| rule.allows(self)));
        let granted: &[HttpRule] = access.map_or(&[], |access| &access.grant().http);
        let mut fitting = granted.iter().filter(|rule| rule.allows(self)).peekable();
        let grants = fitting.peek().is_some();
        if asks && grants {
            return Ok(Destination {
                host: self.host.clone(),
                port: self.port,
                named: fitting.any(|rule| rule.host.is_exact()),
            });
        }
        let rule = HttpRule::narrowest(self);
        let Some(rule) = rule.map(|rule| rule.to_string()) else {
            let line = format!(
                "denied {}: no rule with a path can allow this path; ask for it without `.` and `..`, percent-encoded dots, slashes and semicolons, or `*`",
                self.what()
            );
            return Err(HttpFailure::Wrong(Error::HttpRequestDenied, line));
        };
        let rules: Vec<String> = granted.iter().map(HttpRule::to_string).collect();
        let denied = Denied {
            what: self.what(),
            need: (!asks).then(|| format!("http = {}", toml_text(&rule))),
            grant: (!grants).then(|| list("http", rules, rule)),
        };
        Err(HttpFailure::Denied(denied, Error::HttpRequestDenied))
    }
}

impl Deref for RequestTarget {
    type Target = HttpTarget;

    fn deref(&self) -> &HttpTarget {
        &self.0
    }
}
