//! A test double for tests of plugins: answers in place of the network.

use std::fmt::Debug;

/// A request as it would leave the runner: after the rules, with its secrets substituted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeRequest {
    /// Upper case.
    pub method: String,
    /// With path and query.
    pub url: String,
    /// Lower-case names, in no particular order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The complete body.
    pub body: Vec<u8>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FakeResponse {
    /// The status code, for example 200.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The complete body.
    pub body: Vec<u8>,
}

/// Answers requests in place of the network: set it in [`crate::config::SandboxConfig`]. Needs,
/// grants, budgets and placeholders of secrets are checked before; names are not
/// resolved, so networks are not checked.
pub trait FakeHttp: Debug + Send + Sync {
    /// Answers one request; the error is reported to the guest as a connection error.
    /// Called on the runtime's threads: must not block.
    fn answer(&self, request: FakeRequest) -> Result<FakeResponse, String>;
}
