//! The runner on the other side: the contract's imports in a sandbox, a
//! recorder of one test elsewhere. Both modules have the same items.

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(target_arch = "wasm32")]
mod wasm;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::*;
#[cfg(target_arch = "wasm32")]
pub(crate) use wasm::*;

use std::time::Duration;

use crate::http::url::Url;

/// A request on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Upper case.
    pub(crate) method: String,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// For connecting, for the first byte and between bytes.
    pub(crate) timeout: Option<Duration>,
}

/// The head of an answer, and where its body comes from.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
}

/// What the SDK remembers about the attempt under way.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// SQL statements so far.
    pub(crate) statements: u64,
    /// How many of them the last checkpoint has committed.
    pub(crate) committed: u64,
    /// Names of the steps so far.
    pub(crate) steps: Vec<String>,
}
