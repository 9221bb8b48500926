//! Keeps secrets out of what an attempt leaves behind: log lines, failures,
//! progress, results. Guards against accidents, such as an error that quotes a request:
//! a handler that may read a secret and means to show it can always write it
//! in a way that nobody recognises.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use pgtq_task::{Failure, Grant, GrantBook, Outcome};

/// Shorter values hide more of an honest text than of a secret.
const MIN_BYTES: usize = 4;
/// A line of a longer secret (a private key, say) that is hidden by itself.
const MIN_LINE_BYTES: usize = 8;

/// What is escaped in URLs: by RFC 3986, by JavaScript's `encodeURIComponent`, in forms.
const URL: AsciiSet = FORM.remove(b'~').add(b'*');
const COMPONENT: AsciiSet = (FORM.remove(b'~').remove(b'!'))
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');
const FORM: AsciiSet = (NON_ALPHANUMERIC.remove(b'-').remove(b'.'))
    .remove(b'_')
    .remove(b'*');

/// Replaces every form of a plugin's secrets by `[secret:NAME]`.
///
/// One automaton over all forms: the time does not grow with the number of secrets,
/// nor with what a text has in common with them. The contiguous automaton, because of
/// a secret of 64 KiB, the longest there is, it takes 26 MB and 0.1 s to make; of one
/// of 3,000 bytes 1.4 MB and 4 ms. (What the library would choose takes 640 MB and 1 s.)
pub(crate) struct Redactor {
    forms: AhoCorasick,
    /// What takes the place of each form.
    instead: Vec<Arc<str>>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor(..)")
    }
}

impl Redactor {
    /// For the secrets that a grant opens to its plugin.
    pub(crate) fn of(grant: &Grant, book: &GrantBook) -> Option<Arc<Redactor>> {
        if grant.secrets.is_empty() {
            return None;
        }
        let named = grant.secrets.keys();
        let values = named.filter_map(|name| Some((name.as_str(), book.secrets.get(name)?)));
        Redactor::new(values.map(|(name, secret)| (name, secret.reveal())))
    }

    fn new<'a>(secrets: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Arc<Redactor>> {
        let mut texts: BTreeMap<String, Arc<str>> = BTreeMap::new();
        for (name, value) in secrets {
            let instead: Arc<str> = Arc::from(format!("[secret:{}]", plain(name)));
            for text in forms_of(value) {
                // Two secrets with one value: the first by name.
                texts.entry(text).or_insert_with(|| Arc::clone(&instead));
            }
        }
        if texts.is_empty() {
            return None;
        }
        let forms = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(texts.keys())
            .expect("secrets are too short for more states than the library counts");
        let instead = texts.into_values().collect();
        Some(Arc::new(Redactor { forms, instead }))
    }

    /// The text without secrets. JSON stays JSON.
    pub(crate) fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut hidden = String::new();
        let mut kept = 0;
        for found in self.forms.find_iter(text) {
            hidden.push_str(&text[kept..found.start()]);
            hidden.push_str(&self.instead[found.pattern().as_usize()]);
            kept = found.end();
        }
        if kept == 0 {
            return Cow::Borrowed(text);
        }
        hidden.push_str(&text[kept..]);
        Cow::Owned(hidden)
    }

    /// Hides secrets in the words of an ending, and in its result: both are stored.
    pub(crate) fn hide_in(&self, outcome: &mut Outcome) {
        match outcome {
            Outcome::Retry { failure, .. } | Outcome::Fail { failure } => {
                self.hide_failure(failure);
            }
            Outcome::Cancel { reason } => self.replace(reason),
            Outcome::Complete { result } => {
                self.replace(result);
                // A secret that is a number left a hole.
                if crate::json::check(result).is_err() {
                    *result = "\"[secret]\"".to_owned();
                }
            }
            Outcome::Snooze { .. } | Outcome::Release => {}
        }
    }

    fn hide_failure(&self, failure: &mut Failure) {
        self.replace(&mut failure.code);
        self.replace(&mut failure.message);
        if let Some(details) = &mut failure.details {
            self.replace(details);
        }
        for frame in &mut failure.backtrace {
            self.replace(frame);
        }
    }

    fn replace(&self, text: &mut String) {
        if let Cow::Owned(hidden) = self.hide(text) {
            *text = hidden;
        }
    }
}

/// A name that breaks neither a line nor JSON.
fn plain(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '_'
        }
    };
    name.chars().map(plain).collect()
}

/// How a value may appear: as it is, inside JSON, base64 and percent-encoded,
/// and each line of it.
fn forms_of(value: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    if value.len() < MIN_BYTES {
        return forms;
    }
    forms.insert(value.to_owned());
    if let Ok(json) = serde_json::to_string(value) {
        forms.insert(json[1..json.len() - 1].to_owned());
    }
    let lines = value.lines().map(str::trim);
    forms.extend(
        lines
            .filter(|line| line.len() >= MIN_LINE_BYTES)
            .map(str::to_owned),
    );
    for escaped in [&URL, &COMPONENT, &FORM] {
        let parts = || utf8_percent_encode(value, escaped);
        // With digits in lower case, too.
        let lower = parts().map(|part| match part.starts_with('%') {
            true => part.to_ascii_lowercase(),
            false => part.to_owned(),
        });
        for percent in [parts().collect(), lower.collect::<String>()] {
            forms.insert(percent.replace("%20", "+"));
            forms.insert(percent);
        }
    }
    for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
        forms.insert(engine.encode(value));
        // Inside of something longer, `user:secret` for instance, it begins at
        // one of three places of a group. What shares a character with a
        // neighbour is left out.
        for shift in 0..3_usize {
            let shifted = [&[0; 2][..shift], value.as_bytes()].concat();
            let encoded = engine.encode(&shifted);
            let first = (shift * 8).div_ceil(6);
            let end = shifted.len() * 8 / 6;
            forms.insert(encoded[first..end].to_owned());
        }
    }
    forms.retain(|form| form.len() >= MIN_BYTES);
    forms
}

#[cfg(test)]
mod tests;
