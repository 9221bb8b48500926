//! Mail by the HTTP API of a mail service.

use pgtq_sdk::prelude::*;

use crate::message::Address;

/// Send a mail by the HTTP API of a mail service.
///
/// The plugin does not see the API key: it sends a placeholder, which the runner
/// replaces for the hosts in the operator's grant only.
// Services use different field names: adapt the body to yours. `http://` is for a
// service in your internal network.
#[handler(
    retries = 12,
    backoff = exponential(10s..2h),
    timeout = 1m,
    needs(http = ["POST https://*:*", "POST http://*:*"], secret = "mail_api")
)]
fn send_mail_api(
    ctx: &Ctx,
    /// The recipient: `ada@example.com` or `Ada Lovelace <ada@example.com>`.
    to: String,
    /// The subject.
    subject: String,
    /// The text.
    text: String,
    /// The sender, in the format of `to`.
    #[default("noreply@example.com")]
    from: String,
    /// The service's URL for sending, which the operator must grant.
    #[default("https://api.mail.example/v3/send")]
    url: String,
) -> Result<Accepted> {
    let (from, to) = (Address::parse(&from)?, Address::parse(&to)?);
    let response = ctx
        .http()
        .post(&url)
        .bearer(ctx.secret("mail_api"))
        .header("idempotency-key", ctx.idempotency_key())
        .json(&json!({
            "from": from.shown(),
            "to": [to.shown()],
            "subject": subject,
            "text": text,
        }))
        .timeout(secs(30))
        .send()?;
    let status = response.status();
    if response.is_success() {
        // Not every service returns an id.
        let id = response.json::<Value>().ok().and_then(|body| {
            let id = body.get("id").or_else(|| body.get("message_id"));
            id.and_then(Value::as_str).map(str::to_owned)
        });
        info!(status = status, "the service accepted the mail");
        return Ok(Accepted { status, id });
    }
    if status < 400 {
        return Err(fatal!(
            "the service returned {status}: this is not its URL for sending"
        ));
    }
    let error = response
        .error_for_status()
        .expect_err("the status is 400 or more");
    Err(match status {
        // Retried: a wrong key can be fixed, and an overload passes.
        401 | 403 | 408 | 425 | 429 => error,
        400..=499 => error.fatal(),
        _ => error,
    })
}

/// The result of `send_mail_api`.
#[data]
#[derive(Debug, PartialEq)]
pub struct Accepted {
    /// The status of the response, 200 to 299.
    pub status: u16,
    /// The service's id of the mail, if the response has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}
