//! The builder of a request.

use std::fmt::Display;
use std::time::Duration;

use serde::Serialize;

use super::response::Response;
use super::url::{Url, pair};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::types::Outgoing;
use crate::json;

/// A request being built. [`Request::send`] reports invalid methods, headers, URLs
/// and bodies.
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    host: Host,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    timeout: Option<Duration>,
    /// The first error of the builder.
    error: Option<Error>,
}

impl Request {
    pub(super) fn new(host: Host, method: &str, url: String) -> Self {
        let is_method = !method.is_empty() && method.bytes().all(is_token);
        let error = (!is_method).then(|| {
            let message = format!("`{}` is not an HTTP method", method.escape_debug());
            Error::from_host("invalid", message)
        });
        Request {
            host,
            method: method.to_ascii_uppercase(),
            url,
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
            error,
        }
    }

    /// Adds a header. If the value is or contains a [`Secret`](crate::Secret), the
    /// runner inserts the secret's value when it sends the request.
    pub fn header(mut self, name: &str, value: impl Display) -> Self {
        let value = value.to_string();
        let is_name = !name.is_empty() && name.bytes().all(is_token);
        if !is_name || value.chars().any(|c| c.is_control() && c != '\t') {
            let name = name.escape_debug();
            let message = format!("the header `{name}` contains characters not allowed in headers");
            self.error
                .get_or_insert(Error::from_host("invalid", message));
        }
        self.headers.push((name.to_ascii_lowercase(), value));
        self
    }

    /// Adds `authorization: Bearer ...`.
    pub fn bearer(self, token: impl Display) -> Self {
        self.header("authorization", format_args!("Bearer {token}"))
    }

    /// Adds `key=value` to the URL's query, percent-encoded.
    pub fn query(mut self, key: &str, value: impl Display) -> Self {
        let (url, fragment) = match self.url.split_once('#') {
            Some((url, fragment)) => (url, format!("#{fragment}")),
            None => (self.url.as_str(), String::new()),
        };
        let mark = if url.contains('?') { '&' } else { '?' };
        self.url = format!("{url}{mark}{}{fragment}", pair(key, value));
        self
    }

    /// Sets the body to the given bytes.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = bytes.into();
        self
    }

    /// Sets the body to a value as JSON, and `content-type: application/json`
    /// unless the request already has a `content-type`.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match json::text(value) {
            Ok(text) => self.typed("application/json").body(text),
            Err(fault) => {
                self.error.get_or_insert(fault.about("the body"));
                self
            }
        }
    }

    /// Sets the body to form fields, and `content-type:
    /// application/x-www-form-urlencoded` unless the request already has a
    /// `content-type`.
    pub fn form<K: AsRef<str>, V: Display>(self, fields: impl IntoIterator<Item = (K, V)>) -> Self {
        let fields = fields
            .into_iter()
            .map(|(key, value)| pair(key.as_ref(), value));
        let body = fields.collect::<Vec<_>>().join("&");
        self.typed("application/x-www-form-urlencoded").body(body)
    }

    /// Limits each of three waits: for the connection, for the head of the
    /// response, and between two chunks of its body. The attempt's timeout
    /// applies as well.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends the request and waits for the head of the response. A response with
    /// any status is `Ok`: see [`Response::error_for_status`].
    ///
    /// # Errors
    /// With one of these codes:
    ///
    /// * `denied`: the handler does not declare the URL in its needs, the operator
    ///   does not grant it, or the host's address is not public;
    /// * `timeout`: a wait exceeded its limit;
    /// * `limit`: too many requests, or too many bytes;
    /// * `unavailable`: the server cannot be reached, is not trusted, or closed the
    ///   connection;
    /// * `invalid`: the method, a header or the URL is not valid; fails the task;
    /// * `json`: the body of [`Request::json`] cannot be written as JSON.
    pub fn send(self) -> Result<Response> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let outgoing = Outgoing {
            url: Url::parse(&self.url)?,
            method: self.method,
            headers: self.headers,
            body: self.body,
            timeout: self.timeout,
        };
        let what = format!("{} {}", outgoing.method, outgoing.url.shown());
        match self.host.send(&outgoing) {
            Ok(incoming) => Ok(Response::new(incoming, what)),
            // The host's message already names the request.
            Err(error) if error.message().contains(&what) => Err(error),
            Err(error) => Err(error.within(&what)),
        }
    }

    fn typed(self, content_type: &str) -> Self {
        match self.headers.iter().any(|(name, _)| name == "content-type") {
            true => self,
            false => self.header("content-type", content_type),
        }
    }
}

/// Whether a byte may occur in names of methods and headers (RFC 9110, `tchar`).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
