//! The text of a mail: headers, encodings, parts (RFC 5322, 2045, 2047).

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgtq_sdk::prelude::*;

/// The longest line allowed in a mail, without its CRLF.
const LINE_BYTES: usize = 998;

/// The longest header value written unencoded on one line.
const PLAIN_CHARS: usize = 66;

/// Bytes of text in one encoded word. With `Subject: ` before it, the line stays
/// within 76 characters.
const WORD_BYTES: usize = 39;

/// The longest address.
const ADDRESS_BYTES: usize = 254;

/// The content of a mail.
pub(crate) struct Mail {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: Option<String>,
    /// The unique part of the `Message-ID`.
    pub(crate) id: String,
    pub(crate) date: SystemTime,
}

impl Mail {
    /// `<17.1767225600000@example.com>`.
    pub(crate) fn message_id(&self) -> String {
        format!("<{}@{}>", self.id, self.from.domain())
    }

    /// The whole message. Lines end with CRLF; leading dots are not doubled.
    pub(crate) fn write(&self) -> Result<String> {
        // A line break would let the caller add headers.
        if self.subject.chars().any(char::is_control) {
            return Err(fatal!("the subject contains control characters").code("subject"));
        }
        let mut message = String::new();
        let mut header = |name: &str, value: &str| {
            message.push_str(&format!("{name}: {value}\r\n"));
        };
        header("Date", &date(self.date));
        header("From", &self.from.header());
        header("To", &self.to.header());
        header("Subject", &words(&self.subject));
        header("Message-ID", &self.message_id());
        header("MIME-Version", "1.0");
        header("Auto-Submitted", "auto-generated");
        match &self.html {
            None => message.push_str(&part("plain", &self.text)),
            Some(html) => {
                let (text, html) = (part("plain", &self.text), part("html", html));
                let mut boundary = format!("=_{}", self.id);
                while text.contains(&boundary) || html.contains(&boundary) {
                    boundary.push('_');
                }
                message.push_str(&format!(
                    "Content-Type: multipart/alternative; boundary=\"{boundary}\"\r\n\r\n\
                     --{boundary}\r\n{text}--{boundary}\r\n{html}--{boundary}--\r\n"
                ));
            }
        }
        Ok(message)
    }
}

/// `Ada Lovelace <ada@example.com>`.
#[derive(Debug, PartialEq)]
pub(crate) struct Address {
    /// The name, if one was given.
    pub(crate) name: String,
    /// `ada@example.com`.
    pub(crate) mailbox: String,
}

impl Address {
    /// Parses an address. An invalid one fails the task.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (name, mailbox) = match text
            .trim()
            .strip_suffix('>')
            .and_then(|t| t.rsplit_once('<'))
        {
            Some((name, mailbox)) => (name.trim().trim_matches('"'), mailbox),
            None => ("", text.trim()),
        };
        let shown = || text.escape_debug().to_string();
        if text.chars().any(char::is_control) || name.contains(['<', '>', '"', '\\']) {
            return Err(fatal!("`{}` is not an address", shown()).code("address"));
        }
        let (local, domain) = mailbox.rsplit_once('@').unwrap_or(("", mailbox));
        let is_local = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
        let is_domain = |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b);
        let is_whole = !local.is_empty() && !domain.is_empty() && mailbox.len() <= ADDRESS_BYTES;
        if !is_whole || !local.bytes().all(is_local) || !domain.bytes().all(is_domain) {
            return Err(fatal!(
                "`{}` is not an address: write `ada@example.com` or `Ada <ada@example.com>`, with \
                 the mailbox in ASCII",
                shown()
            )
            .code("address"));
        }
        Ok(Address {
            name: name.to_owned(),
            mailbox: mailbox.to_owned(),
        })
    }

    /// `example.com`.
    pub(crate) fn domain(&self) -> &str {
        self.mailbox.rsplit('@').next().unwrap_or("")
    }

    /// The address for people and services: `Ada Lovelace <ada@example.com>`.
    pub(crate) fn shown(&self) -> String {
        match self.name.is_empty() {
            true => self.mailbox.clone(),
            false => format!("{} <{}>", self.name, self.mailbox),
        }
    }

    fn header(&self) -> String {
        let words = words(&self.name);
        match words.as_str() {
            "" => self.mailbox.clone(),
            // Quoted, because a comma, for example, needs quotes.
            plain if plain == self.name => format!("\"{plain}\" <{}>", self.mailbox),
            encoded => format!("{encoded}\r\n <{}>", self.mailbox),
        }
    }
}

/// A header value: short ASCII text unchanged, other text as encoded words, one per
/// line.
fn words(text: &str) -> String {
    let is_plain = text.bytes().all(|b| matches!(b, b' '..=b'~'));
    if is_plain && text.len() <= PLAIN_CHARS && !text.contains("=?") {
        return text.to_owned();
    }
    let mut words = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        // Split between characters, because each word is decoded separately.
        let end = (0..=WORD_BYTES.min(rest.len()))
            .rev()
            .find(|at| rest.is_char_boundary(*at));
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        let gap = if words.is_empty() { "" } else { "\r\n " };
        let _ = write!(words, "{gap}=?utf-8?B?{}?=", STANDARD.encode(word));
        rest = after;
    }
    words
}

/// One part with its headers: 7bit if the text allows it, otherwise base64.
fn part(kind: &str, text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let is_plain = text.is_ascii() && !text.contains('\0');
    let (encoding, body) = match is_plain && text.lines().all(|line| line.len() <= LINE_BYTES) {
        true => ("7bit", text.trim_end_matches('\n').replace('\n', "\r\n")),
        false => ("base64", base64_lines(&text.replace('\n', "\r\n"))),
    };
    format!(
        "Content-Type: text/{kind}; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\
         \r\n{body}\r\n"
    )
}

fn base64_lines(text: &str) -> String {
    let whole = STANDARD.encode(text);
    let mut lines = String::with_capacity(whole.len() + whole.len() / 38);
    for (number, byte) in whole.chars().enumerate() {
        if number > 0 && number % 76 == 0 {
            lines.push_str("\r\n");
        }
        lines.push(byte);
    }
    lines
}

/// `Thu, 01 Jan 2026 00:00:00 +0000`.
fn date(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let days = seconds / 86_400;
    // Years start in March, in eras of 400 years, so that the leap day is the last day.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} +0000",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize],
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(subject: &str, text: &str) -> Mail {
        Mail {
            from: Address::parse("shop@example.com").expect("an address"),
            to: Address::parse("Ada Lovelace <ada@example.com>").expect("an address"),
            subject: subject.to_owned(),
            text: text.to_owned(),
            html: None,
            id: "7.1767225600000".to_owned(),
            date: UNIX_EPOCH + Duration::from_secs(1_767_225_600),
        }
    }

    #[test]
    fn a_plain_ascii_mail_is_not_encoded() {
        let message = mail("Hello", "One\nTwo\r\n.\n").write().expect("a mail");
        let expected = "Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n\
            From: shop@example.com\r\n\
            To: \"Ada Lovelace\" <ada@example.com>\r\n\
            Subject: Hello\r\n\
            Message-ID: <7.1767225600000@example.com>\r\n\
            MIME-Version: 1.0\r\n\
            Auto-Submitted: auto-generated\r\n\
            Content-Type: text/plain; charset=utf-8\r\n\
            Content-Transfer-Encoding: 7bit\r\n\
            \r\n\
            One\r\nTwo\r\n.\r\n";
        assert_eq!(message, expected);
    }

    #[test]
    fn non_ascii_characters_are_encoded_in_headers_and_text() {
        let message = mail("Größe 🎈", "Übergröße").write().expect("a mail");
        assert!(
            message.contains("Subject: =?utf-8?B?R3LDtsOfZSDwn46I?=\r\n"),
            "{message}"
        );
        assert!(
            message.ends_with("base64\r\n\r\nw5xiZXJncsO2w59l\r\n"),
            "{message}"
        );
        assert!(message.is_ascii());
    }

    #[test]
    fn long_lines_are_split_between_characters() {
        let long = "ä".repeat(3_000);
        let message = mail(&long, &"x".repeat(5_000)).write().expect("a mail");
        assert!(message.lines().all(|line| line.len() <= 76));
        let words = message.lines().filter_map(|line| {
            let word = line
                .trim_start_matches("Subject:")
                .trim()
                .strip_prefix("=?utf-8?B?")?;
            let bytes = STANDARD.decode(word.strip_suffix("?=")?).expect("base64");
            Some(String::from_utf8(bytes).expect("whole characters"))
        });
        assert_eq!(words.collect::<String>(), long);
    }

    #[test]
    fn a_mail_with_html_has_two_parts() {
        let mut mail = mail("Hello", "Text with --=_7.1767225600000 in it");
        mail.html = Some("<p>HTML</p>".to_owned());
        let message = mail.write().expect("a mail");
        assert!(
            message.contains("boundary=\"=_7.1767225600000_\"\r\n\r\n--=_"),
            "{message}"
        );
        assert_eq!(message.matches("--=_7.1767225600000_").count(), 3);
        assert!(
            message.ends_with("<p>HTML</p>\r\n--=_7.1767225600000_--\r\n"),
            "{message}"
        );
    }

    #[test]
    fn a_line_break_cannot_begin_a_header() {
        for subject in ["a\r\nBcc: eve@example.com", "a\nb", "a\0b"] {
            let error = mail(subject, "").write().expect_err("two lines");
            assert_eq!(
                (error.verdict(), error.code_text()),
                (pgtq_sdk::Verdict::Fail, "subject")
            );
        }
    }

    #[test]
    fn valid_addresses_are_parsed_and_invalid_ones_rejected() {
        for (text, header) in [
            ("ada@example.com", "ada@example.com"),
            (" <a+b@x.io> ", "a+b@x.io"),
            (
                "\"Lovelace, Ada\" <ada@x.io>",
                "\"Lovelace, Ada\" <ada@x.io>",
            ),
            ("Jörg <j@x.io>", "=?utf-8?B?SsO2cmc=?=\r\n <j@x.io>"),
        ] {
            assert_eq!(Address::parse(text).expect(text).header(), header);
        }
        for text in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "a b@x.io",
            "jörg@x.io",
            "a@x.io\r\nBcc: b@x.io",
            "a@x.io>\r\nRCPT TO:<b@x.io",
            "A\nB <a@x.io>",
            "a@x.io, b@x.io",
            "<a@x.io> <b@x.io>",
        ] {
            let error = Address::parse(text).expect_err(text);
            assert_eq!(error.code_text(), "address", "{text}");
        }
    }

    #[test]
    fn dates_are_correct_around_leap_days() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 +0000"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 +0000"),
        ] {
            assert_eq!(date(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
