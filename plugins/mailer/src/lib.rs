//! Mail by SMTP, and by the HTTP API of a mail service.
//!
//! The operator decides which servers there are; a task may only pick one of
//! them. For the file `mailer.wasm`, in `pgtq.toml`:
//!
//! ```toml
//! [grants.mailer]
//! tcp = ["smtp.example.com:587"]                       # for `send_mail`
//! secrets.smtp_password = { read = true }              # if the server asks for a login
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
//! To copy it, put your servers and your sender into the `#[default(...)]`s.
//!
//! `send_mail` speaks SMTP without TLS: a plugin has plain TCP, and no library
//! for STARTTLS is linked in. Use it with a relay on your machine or in a network
//! that you trust (`networks = ["loopback"]` or `["private"]` in the grant), or
//! use `send_mail_api`, whose TLS is the runner's.
//!
//! A mail can go out twice: the server may take it a moment before the runner
//! dies. All attempts of a task send the same `Message-ID` or `Idempotency-Key`, by
//! which mail servers and services recognise the second one.

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
/// What the server refuses for now (4xx) is tried again, what it refuses for good
/// (5xx) is not. A login that is refused is tried again: the operator can mend it.
// `*:*` asks for any server: which one it is stands in the operator's grant.
#[handler(
    retries = 12,
    backoff = exponential(30s..2h),
    timeout = 1m,
    needs(tcp = "*:*", secret = "smtp_password")
)]
fn send_mail(
    ctx: &Ctx,
    /// Who gets it: `ada@example.com` or `Ada Lovelace <ada@example.com>`.
    to: String,
    /// The subject, any letters.
    subject: String,
    /// The text.
    text: String,
    /// The same as HTML; readers show the one that they like better.
    html: Option<String>,
    /// Who it is from, in the form of `to`.
    #[default("noreply@example.com")]
    from: String,
    /// `host:port`, one that the operator grants; `user@host:port` logs in with the
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
    // Asked for before anything is sent.
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
    info!(bytes = message.len(), "{host} took the mail: {answer}");
    Ok(Sent {
        message_id: mail.message_id(),
        answer,
    })
}

/// What `send_mail` answers.
#[data]
#[derive(Debug, PartialEq)]
pub struct Sent {
    /// The mail's `Message-ID`, the same in every attempt of the task.
    pub message_id: String,
    /// The server's words on taking it; the queue's number is often in them.
    pub answer: String,
}

/// When the task was pushed. Ids begin anew in a new database; together the two
/// are never used again.
fn millis(ctx: &Ctx) -> u128 {
    let since = ctx.pushed_at().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_millis()
}

#[cfg(test)]
mod tests;
