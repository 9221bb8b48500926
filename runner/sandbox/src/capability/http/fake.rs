//! A test double for tests of plugins: answers in place of the network.

use std::fmt::Debug;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use wasmtime_wasi_http::Error;

use crate::capability::http::budget::{Budget, Way};
use crate::capability::http::error::Refusal;
use crate::capability::http::{Body, Io};

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

/// Passes the request to the fake. `url` is the request's, with its host as rules see it.
pub(super) async fn answer(
    fake: &dyn FakeHttp,
    budget: &Budget,
    url: String,
    parts: &http::request::Parts,
    mut body: Body,
) -> Result<(http::Response<Body>, Io), Refusal> {
    let mut sent = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            budget.spend(data.len(), Way::Out)?;
            sent.extend_from_slice(&data);
        }
    }
    let headers = parts.headers.iter();
    let request = FakeRequest {
        method: parts.method.to_string(),
        url,
        headers: headers
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect(),
        body: sent,
    };
    let failed = |text: String| Refusal::Failed(Error::InternalError(Some(text)));
    let response = fake.answer(request).map_err(failed)?;
    budget.spend(response.body.len(), Way::In)?;
    let mut builder = http::Response::builder().status(response.status);
    for (name, value) in &response.headers {
        builder = builder.header(name, value);
    }
    let body = Full::new(Bytes::from(response.body));
    let body = body.map_err(|never| match never {}).boxed_unsync();
    let response = builder.body(body);
    let response = response.map_err(|error| failed(format!("the fake's response: {error}")))?;
    Ok((response, Box::new(std::future::ready(Ok(())))))
}
