//! A request that is being put together.

use std::fmt::Display;
use std::time::Duration;

use serde::Serialize;

use super::url::{Url, pair};
use super::{Client, Response};
use crate::error::{Error, Result};
use crate::host::{Host, Outgoing};
use crate::json;

/// A request that is not sent yet. Mistakes made on the way are reported by
/// [`Request::send`].
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    client: Client,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    timeout: Option<Duration>,
    mistake: Option<Error>,
}

impl Request {
    pub(super) fn new(host: Host, method: &str, url: String) -> Self {
        let is_method = !method.is_empty() && method.bytes().all(is_token);
        let mistake = (!is_method).then(|| {
            let message = format!("`{}` is not a method", method.escape_debug());
            Error::from_host("invalid", message)
        });
        Request {
            client: Client::new(host),
            method: method.to_ascii_uppercase(),
            url,
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
            mistake,
        }
    }

    /// Adds a header. A [`Secret`](crate::Secret) as the value, or inside of a
    /// longer one, is replaced by the runner on the way out.
    pub fn header(mut self, name: &str, value: impl Display) -> Self {
        let value = value.to_string();
        let is_name = !name.is_empty() && name.bytes().all(is_token);
        if !is_name || value.chars().any(|c| c.is_control() && c != '\t') {
            let name = name.escape_debug();
            let message = format!("the header `{name}` has characters that no header may have");
            self.mistake
                .get_or_insert(Error::from_host("invalid", message));
        }
        self.headers.push((name.to_ascii_lowercase(), value));
        self
    }

    /// Adds `authorization: Bearer ...`.
    pub fn bearer(self, token: impl Display) -> Self {
        self.header("authorization", format_args!("Bearer {token}"))
    }

    /// Adds `key=value` to the URL's query, encoded.
    pub fn query(mut self, key: &str, value: impl Display) -> Self {
        let (url, fragment) = match self.url.split_once('#') {
            Some((url, fragment)) => (url, format!("#{fragment}")),
            None => (self.url.as_str(), String::new()),
        };
        let mark = if url.contains('?') { '&' } else { '?' };
        self.url = format!("{url}{mark}{}{fragment}", pair(key, value));
        self
    }

    /// The body, as it is.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = bytes.into();
        self
    }

    /// The body as JSON, with its `content-type` unless one was set before.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match json::text(value) {
            Ok(text) => self.typed("application/json").body(text),
            Err(fault) => {
                self.mistake.get_or_insert(fault.about("the body"));
                self
            }
        }
    }

    /// The body as fields of a form, with its `content-type` unless one was set before.
    pub fn form<K: AsRef<str>, V: Display>(self, fields: impl IntoIterator<Item = (K, V)>) -> Self {
        let fields = fields
            .into_iter()
            .map(|(key, value)| pair(key.as_ref(), value));
        let body = fields.collect::<Vec<_>>().join("&");
        self.typed("application/x-www-form-urlencoded").body(body)
    }

    /// The longest wait for a connection, for the head of the answer, and
    /// between two pieces of its body. The attempt's own deadline ends all of them.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends it and waits for the head of the answer. An answer of any status
    /// is an `Ok`: see [`Response::error_for_status`].
    ///
    /// # Errors
    /// `denied` if the handler does not need it, the operator does not grant it
    /// or the host's address is not a public one; `timeout`; `limit` for too
    /// many requests or bytes; `unavailable` if the server is not there, is not
    /// trusted or goes away; `invalid`, which fails the task, if it is no
    /// request at all.
    pub fn send(self) -> Result<Response> {
        if let Some(mistake) = self.mistake {
            return Err(mistake);
        }
        let outgoing = Outgoing {
            url: Url::parse(&self.url)?,
            method: self.method,
            headers: self.headers,
            body: self.body,
            timeout: self.timeout,
        };
        let what = format!("{} {}", outgoing.method, outgoing.url.shown());
        match self.client.host.send(&outgoing) {
            Ok(incoming) => Ok(Response::new(incoming, what)),
            // Texts of the host that name the request already.
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

/// What names of methods and headers are made of.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
