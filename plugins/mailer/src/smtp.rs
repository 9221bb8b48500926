//! As much of SMTP as sending needs, over any stream (RFC 5321, RFC 4954).

use std::io::{BufRead, BufReader, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgtq_sdk::prelude::*;

/// Longest line of a reply; the standard says 512.
const LINE_BYTES: u64 = 4096;

/// Most lines of a reply. A greeting lists what a server can do, 20 lines perhaps.
const REPLY_LINES: usize = 100;

/// Characters of a reply that an error shows.
const SHOWN_CHARS: usize = 200;

/// A conversation with a server, after both have introduced themselves.
pub(crate) struct Session<S> {
    stream: BufReader<S>,
    /// What the server can do, as it said.
    extensions: Vec<String>,
}

impl<S: Read + Write> Session<S> {
    /// Hears the greeting and says hello as `me`, the sender's domain.
    pub(crate) fn open(stream: S, me: &str) -> Result<Self> {
        let mut session = Session {
            stream: BufReader::new(stream),
            extensions: Vec::new(),
        };
        session.reply()?.wants(2, "the greeting")?;
        session.extensions = session.ask(&format!("EHLO {me}"))?.wants(2, "EHLO")?.lines;
        Ok(session)
    }

    /// Logs in by `AUTH PLAIN`. The connection is not encrypted: see the crate's doc.
    ///
    /// A refusal is tried again, for it is not about the mail.
    pub(crate) fn login(&mut self, user: &str, password: &str) -> Result<()> {
        let offers_plain = self.extensions.iter().any(|line| {
            let mut words = line.split([' ', '=']);
            let is_auth = words
                .next()
                .is_some_and(|word| word.eq_ignore_ascii_case("AUTH"));
            is_auth && words.any(|word| word.eq_ignore_ascii_case("PLAIN"))
        });
        if !offers_plain {
            return Err(retry!("the server offers no `AUTH PLAIN` without TLS").code("smtp:auth"));
        }
        let token = STANDARD.encode(format!("\0{user}\0{password}"));
        self.ask(&format!("AUTH PLAIN {token}"))?
            .wants(2, &format!("the login of `{user}`"))?;
        Ok(())
    }

    /// Hands over one mail; the server's words on taking it. `message` has lines that
    /// end with CRLF.
    ///
    /// A refusal with 5xx is final: the same mail would be refused again.
    pub(crate) fn send(&mut self, from: &str, to: &str, message: &str) -> Result<String> {
        let answer = self.hand_over(from, to, message);
        answer.map_err(|error| match error.code_text().starts_with("smtp:5") {
            true => error.fatal(),
            false => error,
        })
    }

    fn hand_over(&mut self, from: &str, to: &str, message: &str) -> Result<String> {
        let from = format!("MAIL FROM:<{from}>");
        self.ask(&from)?.wants(2, &from)?;
        let to = format!("RCPT TO:<{to}>");
        self.ask(&to)?.wants(2, &to)?;
        self.ask("DATA")?.wants(3, "DATA")?;
        // A line of one dot ends the mail, so each line that begins with one gets another.
        let mut data = message.replace("\r\n.", "\r\n..");
        data.push_str(".\r\n");
        self.stream.get_mut().write_all(data.as_bytes())?;
        let taken = self.reply()?.wants(2, "the mail")?;
        Ok(taken.text())
    }

    /// Says goodbye. The mail is sent, so nothing that happens here matters.
    pub(crate) fn quit(mut self) {
        let _ = self.ask("QUIT");
    }

    /// Sends a line and hears the reply. The line may hold a password: it is in no error.
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
                return Err(retry!("the server hung up").code("unavailable"));
            }
            let line = String::from_utf8_lossy(&bytes);
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
            let Some(code) = code.filter(|_| bytes.ends_with(b"\n")) else {
                let shown = line.trim_end().escape_debug().to_string();
                let shown: String = shown.chars().take(SHOWN_CHARS).collect();
                return Err(retry!("the server does not speak SMTP: `{shown}`").code("smtp"));
            };
            lines.push(line.get(4..).unwrap_or("").trim_end().to_owned());
            // A hyphen after the code says that more lines follow.
            if bytes.get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
        Err(retry!("the server's reply has more than {REPLY_LINES} lines").code("smtp"))
    }
}

/// What a server answered to one line.
struct Reply {
    code: u16,
    lines: Vec<String>,
}

impl Reply {
    /// The reply itself if its code is of the class: 2 for done, 3 for go on.
    fn wants(self, class: u16, asked: &str) -> Result<Reply> {
        match self.code / 100 == class {
            true => Ok(self),
            false => Err(
                retry!("{asked}: the server answered {} {}", self.code, self.text())
                    .code(format!("smtp:{}", self.code)),
            ),
        }
    }

    /// Its words, without control characters.
    fn text(&self) -> String {
        let text = self.lines.join(" ");
        text.chars()
            .filter(|c| !c.is_control())
            .take(SHOWN_CHARS)
            .collect()
    }
}
