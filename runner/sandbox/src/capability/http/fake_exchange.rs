//! A request that a [`FakeHttp`] answers.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use wasmtime_wasi_http::Error;

use crate::capability::http::budget::{Direction, HttpBudget};
use crate::capability::http::error::HttpFailure;
use crate::capability::http::fake::{FakeHttp, FakeRequest};
use crate::capability::http::message::{Body, Io};

/// Passes the request to the fake. `url` is the request's, with its host as rules see it.
pub(super) async fn answer(
    fake: &dyn FakeHttp,
    budget: &HttpBudget,
    url: String,
    parts: &http::request::Parts,
    mut body: Body,
) -> Result<(http::Response<Body>, Io), HttpFailure> {
    let mut sent = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            budget.spend(data.len(), Direction::Out)?;
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
    let failed = |text: String| HttpFailure::Failed(Error::InternalError(Some(text)));
    let response = fake.answer(request).map_err(failed)?;
    budget.spend(response.body.len(), Direction::In)?;
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
