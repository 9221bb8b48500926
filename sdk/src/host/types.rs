//! What the SDK exchanges with a host, whichever it is.

use std::time::Duration;

use crate::http::url::Url;

/// A validated request.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Upper case.
    pub(crate) method: String,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Limits connecting, the wait for the first byte, and the wait between bytes.
    pub(crate) timeout: Option<Duration>,
}

/// The head of a response, and the source of its body.
#[derive(Debug)]
pub(crate) struct Incoming<Body> {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
}

/// What the SDK tracks about the running attempt.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Number of SQL statements so far.
    pub(crate) statements: u64,
    /// Number of statements committed by the last checkpoint.
    pub(crate) committed: u64,
    /// Names of the steps so far.
    pub(crate) steps: Vec<String>,
}
