//! Mail by a service's HTTP API.

use pgtq_sdk::prelude::*;

use crate::message::Address;

/// Send a mail by the HTTP API of a mail service.
///
/// The key stays with the runner: the plugin sends a placeholder, which is replaced
/// for the hosts that the operator named and for no others.
// Services differ in the names of fields: change the body to yours. `http://` is
// for a service in your own network.
#[handler(
    retries = 12,
    backoff = exponential(10s..2h),
    timeout = 1m,
    needs(http = ["POST https://*:*", "POST http://*:*"], secret = "mail_api")
)]
fn send_mail_api(
    ctx: &Ctx,
    /// Who gets it: `ada@example.com` or `Ada Lovelace <ada@example.com>`.
    to: String,
    /// The subject.
    subject: String,
    /// The text.
    text: String,
    /// Who it is from, in the form of `to`.
    #[default("noreply@example.com")]
    from: String,
    /// The service's address for sending, one that the operator grants.
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
        // Services say more or less about what they took; an id is nice to have.
        let id = response.json::<Value>().ok().and_then(|answer| {
            let id = answer.get("id").or_else(|| answer.get("message_id"));
            id.and_then(Value::as_str).map(str::to_owned)
        });
        info!(status = status, "the service took the mail");
        return Ok(Accepted { status, id });
    }
    if status < 400 {
        return Err(fatal!(
            "the service answered {status}: this is not the address for sending"
        ));
    }
    let refused = response
        .error_for_status()
        .expect_err("the status is 400 or more");
    Err(match status {
        // The operator's key, the service's hurry: both can be otherwise soon.
        401 | 403 | 408 | 425 | 429 => refused,
        400..=499 => refused.fatal(),
        _ => refused,
    })
}

/// What `send_mail_api` answers.
#[data]
#[derive(Debug, PartialEq)]
pub struct Accepted {
    /// The service's status, 200 to 299.
    pub status: u16,
    /// The service's id of the mail, if it told one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}
