//! The part of SMTP needed to send mail, over any stream (RFC 5321, RFC 4954).

use std::io::{BufRead, BufReader, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgtq_sdk::prelude::*;

/// The longest line of a reply. The standard allows 512 bytes.
const LINE_BYTES: u64 = 4096;

/// The maximum number of lines of a reply. Replies to `EHLO` have about 20.
const REPLY_LINES: usize = 100;

/// Characters of a reply shown in an error.
const SHOWN_CHARS: usize = 200;

/// A session with a server, after `EHLO`.
pub(crate) struct Session<S> {
    stream: BufReader<S>,
    /// The server's extensions, from its reply to `EHLO`.
    extensions: Vec<String>,
}

impl<S: Read + Write> Session<S> {
    /// Reads the greeting and sends `EHLO me`, where `me` is the sender's domain.
    pub(crate) fn open(stream: S, me: &str) -> Result<Self> {
        let mut session = Session {
            stream: BufReader::new(stream),
            extensions: Vec::new(),
        };
        session.reply()?.expect(2, "the greeting")?;
        session.extensions = session.ask(&format!("EHLO {me}"))?.expect(2, "EHLO")?.lines;
        Ok(session)
    }

    /// Logs in with `AUTH PLAIN`. The connection is not encrypted: see the crate's
    /// documentation.
    ///
    /// A rejected login is retried, because the mail is not the cause.
    pub(crate) fn login(&mut self, user: &str, password: &str) -> Result<()> {
        let offers_plain = self.extensions.iter().any(|line| {
            let mut words = line.split([' ', '=']);
            let is_auth = words
                .next()
                .is_some_and(|word| word.eq_ignore_ascii_case("AUTH"));
            is_auth && words.any(|word| word.eq_ignore_ascii_case("PLAIN"))
        });
        if !offers_plain {
            return Err(
                retry!("the server does not offer `AUTH PLAIN` without TLS").code("smtp:auth")
            );
        }
        let token = STANDARD.encode(format!("\0{user}\0{password}"));
        self.ask(&format!("AUTH PLAIN {token}"))?
            .expect(2, &format!("the login of `{user}`"))?;
        Ok(())
    }

    /// Sends one mail and returns the server's reply. The lines of `message` end with
    /// CRLF.
    ///
    /// A rejection with 5xx is final: the same mail would be rejected again.
    pub(crate) fn send(&mut self, from: &str, to: &str, message: &str) -> Result<String> {
        let reply = self.transmit(from, to, message);
        reply.map_err(|error| match error.code_text().starts_with("smtp:5") {
            true => error.fatal(),
            false => error,
        })
    }

    fn transmit(&mut self, from: &str, to: &str, message: &str) -> Result<String> {
        let from = format!("MAIL FROM:<{from}>");
        self.ask(&from)?.expect(2, &from)?;
        let to = format!("RCPT TO:<{to}>");
        self.ask(&to)?.expect(2, &to)?;
        self.ask("DATA")?.expect(3, "DATA")?;
        // A line with a single dot ends the mail, so leading dots are doubled.
        let mut data = message.replace("\r\n.", "\r\n..");
        data.push_str(".\r\n");
        self.stream.get_mut().write_all(data.as_bytes())?;
        let accepted = self.reply()?.expect(2, "the mail")?;
        Ok(accepted.text())
    }

    /// Ends the session. Errors are ignored: the mail is already sent.
    pub(crate) fn quit(mut self) {
        let _ = self.ask("QUIT");
    }

    /// Sends a line and reads the reply. The line may contain a password, so errors do
    /// not show it.
    fn ask(&mut self, line: &str) -> Result<Reply> {
        let line = format!("{line}\r\n");
        self.stream.get_mut().write_all(line.as_bytes())?;
        self.reply()
    }

    fn reply(&mut self) -> Result<Reply> {
        let mut lines = Vec::new();
        while lines.len() < REPLY_LINES {
            let mut bytes = Vec::new();
            let mut start = self.stream.by_ref().take(LINE_BYTES);
            start.read_until(b'\n', &mut bytes)?;
            if bytes.is_empty() {
                return Err(retry!("the server closed the connection").code("unavailable"));
            }
            let line = String::from_utf8_lossy(&bytes);
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
            let Some(code) = code.filter(|_| bytes.ends_with(b"\n")) else {
                let shown = line.trim_end().escape_debug().to_string();
                let shown: String = shown.chars().take(SHOWN_CHARS).collect();
                return Err(retry!("the server's reply is not SMTP: `{shown}`").code("smtp"));
            };
            lines.push(line.get(4..).unwrap_or("").trim_end().to_owned());
            // A hyphen after the code means that more lines follow.
            if bytes.get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
        Err(retry!("the server's reply has more than {REPLY_LINES} lines").code("smtp"))
    }
}

/// The server's reply to one line.
struct Reply {
    code: u16,
    lines: Vec<String>,
}

impl Reply {
    /// Returns the reply if its code is of the class: 2 for success, 3 for continue.
    fn expect(self, class: u16, request: &str) -> Result<Reply> {
        match self.code / 100 == class {
            true => Ok(self),
            false => Err(retry!(
                "{request}: the server replied {} {}",
                self.code,
                self.text()
            )
            .code(format!("smtp:{}", self.code))),
        }
    }

    /// The text of the reply, without control characters.
    fn text(&self) -> String {
        let text = self.lines.join(" ");
        text.chars()
            .filter(|c| !c.is_control())
            .take(SHOWN_CHARS)
            .collect()
    }
}
