//! Mail by SMTP, and by the HTTP API of a mail service.
//!
//! A task chooses among the servers that the operator grants, in `pgtq.toml`, for the
//! plugin file `mailer.wasm`:
//!
//! ```toml
//! [grants.mailer]
//! tcp = ["smtp.example.com:587"]                       # for `send_mail`
//! secrets.smtp_password = { read = true }              # if the server requires a login
//! http = ["POST https://api.mail.example/v3/send"]     # for `send_mail_api`
//! secrets.mail_api = { hosts = ["api.mail.example"] }
//!
//! [secrets.smtp_password]
//! file = "/run/secrets/smtp_password"
//!
//! [secrets.mail_api]
//! env = "MAIL_API_KEY"
//! ```
//!
//! If you copy this plugin, set your servers and your sender in the `#[default(...)]`
//! attributes.
//!
//! `send_mail` uses SMTP without TLS: a plugin has plain TCP, and no library for
//! STARTTLS is linked in. Use it with a relay on your machine or in a trusted network
//! (`networks = ["loopback"]` or `["private"]` in the grant), or use `send_mail_api`,
//! where the runner does TLS.
//!
//! A mail can be sent twice, if the runner crashes after the server accepted the mail.
//! All attempts of a task send the same `Message-ID` or `Idempotency-Key`, by which
//! mail servers and services can detect duplicates.

mod api;
mod message;
mod smtp;

use std::io::ErrorKind;
use std::net::TcpStream;

use pgtq_sdk::prelude::*;

use message::{Address, Mail};
use smtp::Session;

/// Send a mail by SMTP.
///
/// A temporary rejection (4xx) is retried, a permanent one (5xx) is final. A rejected
/// login is retried, because the operator can fix the password.
// `*:*` declares any server: the operator's grant lists the real ones.
#[handler(
    retries = 12,
    backoff = exponential(30s..2h),
    timeout = 1m,
    needs(tcp = "*:*", secret = "smtp_password")
)]
fn send_mail(
    ctx: &Ctx,
    /// The recipient: `ada@example.com` or `Ada Lovelace <ada@example.com>`.
    to: String,
    /// The subject. May contain any characters except control characters.
    subject: String,
    /// The text.
    text: String,
    /// The text as HTML. Mail programs show one of the two.
    html: Option<String>,
    /// The sender, in the format of `to`.
    #[default("noreply@example.com")]
    from: String,
    /// `host:port`, which the operator must grant. `user@host:port` logs in with the
    /// secret `smtp_password`.
    #[default("smtp.example.com:587")]
    server: String,
) -> Result<Sent> {
    let mail = Mail {
        from: Address::parse(&from)?,
        to: Address::parse(&to)?,
        subject,
        text,
        html,
        id: format!("{}.{}", ctx.id(), millis(ctx)),
        date: ctx.pushed_at(),
    };
    let message = mail.write()?;
    let (user, host) = match server.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, server.as_str()),
    };
    // Read before anything is sent.
    let password = user
        .map(|_| ctx.secret("smtp_password").read())
        .transpose()?;

    let stream = TcpStream::connect(host).map_err(|error| {
        let code = match error.kind() {
            ErrorKind::PermissionDenied => "denied",
            _ => "unavailable",
        };
        retry!("connect to {host}: {error}").code(code)
    })?;
    let mut session = Session::open(stream, mail.from.domain())?;
    if let (Some(user), Some(password)) = (user, password) {
        session.login(user, &password)?;
    }
    let answer = session.send(&mail.from.mailbox, &mail.to.mailbox, &message)?;
    session.quit();
    info!(bytes = message.len(), "{host} accepted the mail: {answer}");
    Ok(Sent {
        message_id: mail.message_id(),
        answer,
    })
}

/// The result of `send_mail`.
#[data]
#[derive(Debug, PartialEq)]
pub struct Sent {
    /// The mail's `Message-ID`, the same in every attempt of the task.
    pub message_id: String,
    /// The server's reply to the mail, which often contains its queue id.
    pub answer: String,
}

/// When the task was pushed. Task ids restart in a new database; id and time together
/// are unique.
fn millis(ctx: &Ctx) -> u128 {
    let since = ctx.pushed_at().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_millis()
}

#[cfg(test)]
mod tests;
