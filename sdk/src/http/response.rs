//! An answer: its head is here, its body comes as it is read.

use std::io;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::host::{Body, Incoming};

/// Bytes asked for at once.
const CHUNK_BYTES: u64 = 64 * 1024;

/// Characters of a body that an error shows.
const SHOWN_CHARS: usize = 200;

/// Longest delay that a server may ask for: a day. Longer ones become a day.
const LONGEST_DELAY_SECONDS: u64 = 24 * 60 * 60;

/// A server's answer. Its body is not in the guest's memory until it is read;
/// large ones are best read in pieces, by [`Response::read_chunk`] or as a
/// [`std::io::Read`].
#[derive(Debug)]
pub struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
    /// Bytes that `io::Read` took from the body and has not handed out yet.
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

    /// The status: 200 for a plain success.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of a name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// All headers, names in lower case, in the server's order.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The next piece of the body, at most 64 KiB; `None` at its end.
    ///
    /// # Errors
    /// As [`Request::send`](super::Request::send).
    pub fn read_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        let chunk = self.body.read(CHUNK_BYTES);
        let chunk = chunk.map_err(|error| error.within(&self.what))?;
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    /// The whole body. It has to fit into the guest's memory.
    ///
    /// # Errors
    /// As [`Request::send`](super::Request::send).
    pub fn bytes(mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(chunk) = self.read_chunk()? {
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    /// The whole body as text; what is not UTF-8 becomes `U+FFFD`.
    ///
    /// # Errors
    /// As [`Request::send`](super::Request::send).
    pub fn text(self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes()?).into_owned())
    }

    /// The whole body as JSON of a type.
    ///
    /// # Errors
    /// As [`Request::send`](super::Request::send), and of code `json` if it is
    /// something else; it retries by policy.
    pub fn json<T: DeserializeOwned>(self) -> Result<T> {
        let what = self.what.clone();
        serde_json::from_slice(&self.bytes()?).map_err(|error| {
            let wanted = std::any::type_name::<T>();
            let message = format!("{what} answered something that is no `{wanted}`: {error}");
            Error::new(message).code("json")
        })
    }

    /// The answer itself, unless its status is 400 or more.
    ///
    /// # Errors
    /// Of code `http:` and the status, as in `http:503`, with the first words
    /// of the body. It retries by policy; after 429 and 503 no earlier than
    /// the server's `retry-after` says, if it says seconds.
    pub fn error_for_status(mut self) -> Result<Response> {
        if self.status < 400 {
            return Ok(self);
        }
        let mut message = format!("{} answered {}", self.what, self.status);
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

    /// The first words of the body, on one line. An error is about the status,
    /// so a body that cannot be read says nothing.
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
