//! A response: its head, and its body as a stream.

use std::io;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::host::{Body, Incoming};

/// Maximum bytes per read.
const CHUNK_BYTES: u64 = 64 * 1024;

/// Characters of the body shown in an error.
const SHOWN_CHARS: usize = 200;

/// The longest delay accepted from a `retry-after` header: a day. Longer delays
/// are shortened to it.
const LONGEST_DELAY_SECONDS: u64 = 24 * 60 * 60;

/// A server's response. The body is not in the guest's memory until it is read;
/// read a large body in chunks, with [`Response::read_chunk`] or as a
/// [`std::io::Read`].
#[derive(Debug)]
pub struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
    /// Bytes that `io::Read` has read from the body and not yet returned.
    rest: Vec<u8>,
    /// `GET https://api.example.com/`, for messages.
    what: String,
}

impl Response {
    pub(super) fn new(incoming: Incoming, what: String) -> Self {
        Response {
            status: incoming.status,
            headers: incoming.headers,
            body: incoming.body,
            rest: Vec::new(),
            what,
        }
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header with this name. Names are case-insensitive.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// All headers in the server's order, names in lower case.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The next chunk of the body, at most 64 KiB; `None` at the end.
    ///
    /// # Errors
    /// `timeout`, `limit` and `unavailable` as in
    /// [`Request::send`](super::Request::send).
    pub fn read_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        let chunk = self.body.read(CHUNK_BYTES);
        let chunk = chunk.map_err(|error| error.within(&self.what))?;
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    /// The whole body. It must fit into the handler's memory limit.
    ///
    /// # Errors
    /// As [`Response::read_chunk`].
    pub fn bytes(mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(chunk) = self.read_chunk()? {
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    /// The whole body as text. Invalid UTF-8 is replaced by `U+FFFD`.
    ///
    /// # Errors
    /// As [`Response::read_chunk`].
    pub fn text(self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes()?).into_owned())
    }

    /// The whole body, parsed as JSON.
    ///
    /// # Errors
    /// As [`Response::read_chunk`], and code `json` if the body is not a valid `T`.
    pub fn json<T: DeserializeOwned>(self) -> Result<T> {
        let what = self.what.clone();
        serde_json::from_slice(&self.bytes()?).map_err(|error| {
            let wanted = std::any::type_name::<T>();
            let message = format!("{what}: the response body is not a valid `{wanted}`: {error}");
            Error::new(message).code("json")
        })
    }

    /// Converts a status of 400 or more into an error.
    ///
    /// # Errors
    /// With the code `http:` and the status, as in `http:503`, and the beginning
    /// of the body in the message. It retries by policy. For 429 and 503, the
    /// delay is the `retry-after` header, if it is a number of seconds, at most a
    /// day.
    pub fn error_for_status(mut self) -> Result<Response> {
        if self.status < 400 {
            return Ok(self);
        }
        let mut message = format!("{} returned {}", self.what, self.status);
        let body = self.beginning();
        if !body.is_empty() {
            message = format!("{message}: {body}");
        }
        let error = Error::new(message).code(format!("http:{}", self.status));
        let delay = self
            .header("retry-after")
            .and_then(|value| value.trim().parse::<u64>().ok());
        Err(match delay {
            Some(seconds) if matches!(self.status, 429 | 503) => {
                error.retry_after(crate::secs(seconds.min(LONGEST_DELAY_SECONDS)))
            }
            _ => error,
        })
    }

    /// The beginning of the body, on one line; empty if the body cannot be read,
    /// because the error is about the status.
    fn beginning(&mut self) -> String {
        let chunk = self.read_chunk().ok().flatten().unwrap_or_default();
        let text = String::from_utf8_lossy(&chunk);
        let words: Vec<&str> = text.split_whitespace().take(SHOWN_CHARS).collect();
        let line = words.join(" ");
        match line.char_indices().nth(SHOWN_CHARS) {
            Some((at, _)) => format!("{}...", &line[..at]),
            None => line,
        }
    }
}

impl io::Read for Response {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        if self.rest.is_empty() {
            let chunk = self.body.read(into.len().min(CHUNK_BYTES as usize) as u64);
            self.rest =
                chunk.map_err(|error| io::Error::other(error.within(&self.what).to_string()))?;
        }
        let count = self.rest.len().min(into.len());
        into[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }
}
