//! Fake HTTP servers.

use std::fmt::Display;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A request that a handler made.
#[derive(Debug, Clone, PartialEq)]
pub struct Requested {
    /// The method, in upper case.
    pub method: String,
    /// The URL, with its query.
    pub url: String,
    /// The headers: names in lower case, secrets as placeholders.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The timeout, if one was set.
    pub timeout: Option<Duration>,
}

impl Requested {
    /// The first header with this name. Names are case-insensitive.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text. Invalid UTF-8 is replaced by `U+FFFD`.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, parsed as JSON.
    ///
    /// # Panics
    /// If the body is not a valid `T`.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!(
                "the request body is not the expected JSON: {error}: {}",
                self.text()
            )
        })
    }

    /// Whether a pattern of `on_http` matches this request.
    pub(crate) fn matches(&self, method: &str, pattern: &str) -> bool {
        let without_query = self.url.split('?').next().unwrap_or("");
        let is_url = match pattern.strip_suffix('*') {
            Some(start) => self.url.starts_with(start),
            None => pattern == self.url || pattern == without_query,
        };
        is_url && (method == "*" || method.eq_ignore_ascii_case(&self.method))
    }
}

/// The response of a fake server, for [`TestCtx::on_http`](crate::TestCtx::on_http).
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// A response with this status and no body.
    pub fn status(status: u16) -> Self {
        Reply {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A response with status 200 and a JSON body.
    ///
    /// # Panics
    /// If the value cannot be written as JSON.
    pub fn json(value: impl Serialize) -> Self {
        let value: Value = crate::json::value(&value).expect("the reply cannot be written as JSON");
        Reply::status(200)
            .header("content-type", "application/json")
            .body(value.to_string())
    }

    /// A response with status 200 and a body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Reply::status(200).body(body)
    }

    /// Sets the status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Display) -> Self {
        self.headers
            .push((name.to_ascii_lowercase(), value.to_string()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}
