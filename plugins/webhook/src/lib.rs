//! Webhooks: signed HTTP requests that notify another service of an event.
//!
//! The grants in `pgtq.toml`, for the plugin file `webhook.wasm`:
//!
//! ```toml
//! [grants.webhook]
//! http = ["POST https://*:*"]      # customers' servers: any host, but only public addresses
//! secrets.webhook_signing = { read = true }
//!
//! [secrets.webhook_signing]
//! file = "/run/secrets/webhook_signing"
//! ```
//!
//! The runner denies requests to addresses that are not public, so a customer's URL
//! cannot reach your internal network. Do not set `networks` in this grant.
//!
//! A receiver verifies a request as follows:
//!
//! 1. read `t` and `v1` from `X-Signature: t=1767225600,v1=5257a8...`;
//! 2. compute HMAC-SHA256, in hexadecimal, of `t`, a dot, and the raw body, with the
//!    shared secret; compare it with `v1` in constant time;
//! 3. reject the request if `t` is more than five minutes old;
//! 4. ignore the request if its `X-Webhook-Id` is known: a delivery can be repeated.

use std::time::UNIX_EPOCH;

use hmac::{Hmac, KeyInit, Mac};
use pgtq_sdk::prelude::*;
use sha2::Sha256;

/// The largest body. Receivers usually accept this size.
const BODY_BYTES: usize = 256 * 1024;

/// Deliver a webhook.
///
/// Any 2xx is a success. 429, 5xx and connection errors are retried, for 6 to 11 hours in all;
/// 429 and 503 after the delay in `Retry-After`, if present. All other responses are
/// final; 410 means that the receiver no longer exists.
// `http://` is for receivers in your internal network, and needs a grant as well.
#[handler(
    retries = 12,
    backoff = exponential(10s..6h),
    timeout = 30s,
    needs(http = ["POST https://*:*", "POST http://*:*"], secret = "webhook_signing")
)]
fn deliver(
    ctx: &Ctx,
    /// The receiver's URL.
    url: String,
    /// The name of the event, such as `order.paid`.
    event: String,
    /// The body, any JSON value.
    body: Value,
) -> Result<Delivered> {
    let body = body.to_string();
    if body.len() > BODY_BYTES {
        return Err(fatal!(
            "the body is {} bytes, the limit is {BODY_BYTES}",
            body.len()
        )
        .code("body"));
    }
    let key = ctx.secret("webhook_signing").read()?;
    let started = ctx.now();
    // The time of this attempt, not of the task: receivers reject old signatures.
    let timestamp = started
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let signature = sign(&key, timestamp, &body)?;
    let response = ctx
        .http()
        .post(&url)
        .header("content-type", "application/json")
        .header("user-agent", "pgtq-webhook/1")
        .header("x-webhook-id", ctx.idempotency_key())
        .header("x-webhook-event", event)
        .header("x-signature", format!("t={timestamp},v1={signature}"))
        .body(body)
        .timeout(secs(15))
        .send()?;
    let status = response.status();
    let milliseconds = ctx
        .now()
        .duration_since(started)
        .unwrap_or_default()
        .as_millis();
    info!(
        status = status,
        milliseconds = milliseconds as u64,
        "the receiver responded"
    );
    if response.is_success() {
        return Ok(Delivered {
            status,
            milliseconds: milliseconds as u64,
        });
    }
    if status < 400 {
        let location = shown(response.header("location").unwrap_or("nowhere"));
        let url = shown(&url);
        return Err(fatal!(
            "{url} returned {status} with location {location}: redirects are not followed, set \
             the final URL"
        )
        .code(format!("http:{status}")));
    }
    let error = response
        .error_for_status()
        .expect_err("the status is 400 or more");
    Err(match status {
        410 => error.fatal().code("gone"),
        429 | 500.. => error,
        _ => error.fatal(),
    })
}

/// The result of `deliver`.
#[data]
#[derive(Debug, PartialEq)]
pub struct Delivered {
    /// The status of the response, 200 to 299.
    pub status: u16,
    /// The response time in milliseconds.
    pub milliseconds: u64,
}

/// A URL for messages: without its query, which often contains keys.
fn shown(url: &str) -> String {
    let shown = url.split('?').next().unwrap_or("");
    shown.escape_debug().take(200).collect()
}

/// HMAC-SHA256 of `timestamp.body`, in hexadecimal.
fn sign(key: &str, timestamp: u64, body: &str) -> Result<String> {
    if key.is_empty() {
        // Anyone could forge a signature with an empty key.
        return Err(retry!("the secret `webhook_signing` is empty").code("secret"));
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes())?;
    mac.update(format!("{timestamp}.{body}").as_bytes());
    let bytes = mac.finalize().into_bytes();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgtq_sdk::{Reply, TestCtx, Verdict};

    const URL: &str = "https://shop.example:8443/hooks?customer=7";

    fn ctx(answer: impl FnMut(&pgtq_sdk::Requested) -> Result<Reply> + 'static) -> TestCtx {
        Ctx::test()
            .secret("webhook_signing", "whsec_1")
            .on_http("POST", URL, answer)
    }

    fn run(ctx: &TestCtx) -> Result<Value> {
        ctx.run(
            "deliver",
            json!({"url": URL, "event": "order.paid", "body": {"order": 7}}),
        )
    }

    #[test]
    fn a_delivery_is_signed_and_has_an_id() {
        let ctx = ctx(|_| Ok(Reply::status(202)));
        assert_eq!(run(&ctx), Ok(json!({"status": 202, "milliseconds": 0})));
        let request = &ctx.requests()[0];
        assert_eq!(request.text(), r#"{"order":7}"#);
        assert_eq!(request.header("x-webhook-id"), Some("test-1"));
        assert_eq!(request.header("x-webhook-event"), Some("order.paid"));
        // The signature of `1767225600.{"order":7}` by another implementation.
        assert_eq!(
            request.header("x-signature"),
            Some(
                "t=1767225600,v1=d3a686abe4061506624c24179d25e853e257bfbdf6c0b3f9803400b8fa9e638a"
            )
        );
    }

    #[test]
    fn temporary_errors_are_retried_and_others_are_final() {
        for (status, verdict, code) in [
            (301, Verdict::Fail, "http:301"),
            (400, Verdict::Fail, "http:400"),
            (404, Verdict::Fail, "http:404"),
            (410, Verdict::Fail, "gone"),
            (429, Verdict::Retry, "http:429"),
            (500, Verdict::Retry, "http:500"),
            (503, Verdict::Retry, "http:503"),
        ] {
            let error = run(&ctx(move |_| Ok(Reply::status(status)))).expect_err("no delivery");
            assert_eq!((error.verdict(), error.code_text()), (verdict, code));
        }
    }

    #[test]
    fn retry_after_is_honored_for_429_and_503() {
        for status in [429, 503] {
            let busy = ctx(move |_| Ok(Reply::status(status).header("retry-after", 120)));
            assert_eq!(run(&busy).expect_err("busy").delay(), Some(secs(120)));
        }
        // It is ignored for other statuses.
        let broken = ctx(|_| Ok(Reply::status(500).header("retry-after", 120)));
        assert_eq!(run(&broken).expect_err("broken").delay(), None);
    }

    #[test]
    fn a_redirect_is_not_followed() {
        let moved = ctx(|_| Ok(Reply::status(302).header("location", "http://169.254.169.254/")));
        let error = run(&moved).expect_err("a redirect");
        assert!(
            error
                .message()
                .contains("with location http://169.254.169.254/"),
            "{error}"
        );
        assert_eq!(moved.requests().len(), 1);
    }

    #[test]
    fn a_timeout_is_retried() {
        let silent = ctx(|_| Err(retry!("the response timed out").code("timeout")));
        let error = run(&silent).expect_err("a timeout");
        assert_eq!(
            (error.verdict(), error.code_text()),
            (Verdict::Retry, "timeout")
        );
    }

    #[test]
    fn without_the_secret_nothing_is_sent() {
        let ctx = Ctx::test().on_http("POST", URL, |_| Ok(Reply::status(200)));
        assert_eq!(run(&ctx).expect_err("no secret").code_text(), "denied");
        let empty = Ctx::test().secret("webhook_signing", "");
        assert_eq!(run(&empty).expect_err("no secret").code_text(), "secret");
        assert!(ctx.requests().is_empty() && empty.requests().is_empty());
    }

    #[test]
    fn invalid_input_is_a_final_error() {
        let ctx = ctx(|_| Ok(Reply::status(200)));
        let large = "x".repeat(BODY_BYTES);
        for (url, event, body) in [
            ("ftp://shop.example/", "a", "b"),
            ("https://me:pw@shop.example/", "a", "b"),
            (URL, "a\r\nX-Other: b", "b"),
            (URL, "a", &large),
        ] {
            let error = deliver(&ctx, url.to_owned(), event.to_owned(), json!(body));
            assert_eq!(error.expect_err(url).verdict(), Verdict::Fail);
        }
        assert!(ctx.requests().is_empty());
    }
}
