//! Servers of a test.

use std::fmt::Display;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A request that a handler made.
#[derive(Debug, Clone, PartialEq)]
pub struct Requested {
    /// Upper case.
    pub method: String,
    /// All of it, with the query.
    pub url: String,
    /// Names in lower case; secrets as their placeholders.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The longest wait, if one was set.
    pub timeout: Option<Duration>,
}

impl Requested {
    /// The first header of a name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text; what is not UTF-8 becomes `U+FFFD`.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!(
                "the body is not the JSON expected: {error}: {}",
                self.text()
            )
        })
    }

    /// Whether a pattern of `on_http` means this request.
    pub(crate) fn matches(&self, method: &str, pattern: &str) -> bool {
        let without_query = self.url.split('?').next().unwrap_or("");
        let is_url = match pattern.strip_suffix('*') {
            Some(start) => self.url.starts_with(start),
            None => pattern == self.url || pattern == without_query,
        };
        is_url && (method == "*" || method.eq_ignore_ascii_case(&self.method))
    }
}

/// What a server of a test answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// An answer of this status without a body.
    pub fn status(status: u16) -> Self {
        Reply {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// An answer of status 200 with JSON.
    ///
    /// # Panics
    /// If the value cannot be written as JSON.
    pub fn json(value: impl Serialize) -> Self {
        let value: Value = crate::json::value(&value).expect("the answer is JSON");
        Reply::status(200)
            .header("content-type", "application/json")
            .body(value.to_string())
    }

    /// An answer of status 200 with a body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Reply::status(200).body(body)
    }

    /// Sets another status.
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
