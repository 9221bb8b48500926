//! Keeps secrets out of what an attempt leaves behind: log lines, failures,
//! progress, results. Guards against accidents, such as an error that quotes a request:
//! a handler that may read a secret and means to show it can always write it
//! in a way that nobody recognises.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use pgtq_task::{Failure, Grant, GrantBook, Outcome};

/// Shorter values hide more of an honest text than of a secret.
const MIN_BYTES: usize = 4;
/// A line of a longer secret (a private key, say) that is hidden by itself.
const MIN_LINE_BYTES: usize = 8;

/// Bytes by which encoded forms are looked up.
type Start = [u8; MIN_BYTES];

/// Replaces every form of a plugin's secrets by `[secret:NAME]`.
///
/// A text is looked at once, byte by byte. Where a form could begin, its start finds
/// the few forms that begin alike, and a binary search the longest of them that is
/// there: the time does not grow with the number of secrets. (An automaton over all
/// forms would be as fast, and has a state for each of their bytes: tens of megabytes
/// for one large secret.)
pub(super) struct Redactor {
    /// Which bytes forms begin with; most bytes begin none.
    first: Box<[bool; 256]>,
    /// Where in `forms` the forms with some start are.
    starts: HashMap<Start, Range<usize>>,
    /// In the order of their bytes, so that a form follows those that it begins with.
    forms: Vec<Form>,
}

struct Form {
    text: String,
    instead: Arc<str>,
    /// The longest other form that this one begins with.
    shorter: Option<usize>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor(..)")
    }
}

impl Redactor {
    /// For the secrets that a grant opens to its plugin.
    pub(super) fn of(grant: &Grant, book: &GrantBook) -> Option<Arc<Redactor>> {
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
        let mut forms: Vec<Form> = Vec::with_capacity(texts.len());
        let mut first = Box::new([false; 256]);
        let mut starts: HashMap<Start, Range<usize>> = HashMap::new();
        for (at, (text, instead)) in texts.into_iter().enumerate() {
            let start = start_of(text.as_bytes()).expect("a form has so many bytes");
            first[usize::from(start[0])] = true;
            starts.entry(start).or_insert(at..at).end = at + 1;
            // It begins with its neighbour, or with one that the neighbour begins with.
            let mut shorter = at.checked_sub(1);
            while let Some(other) = shorter.filter(|other| !text.starts_with(&forms[*other].text)) {
                shorter = forms[other].shorter;
            }
            forms.push(Form {
                text,
                instead,
                shorter,
            });
        }
        (!forms.is_empty()).then(|| {
            Arc::new(Redactor {
                first,
                starts,
                forms,
            })
        })
    }

    /// The longest form that a text begins with.
    fn form(&self, text: &[u8]) -> Option<&Form> {
        let alike = self.starts.get(&start_of(text)?)?.clone();
        let forms = &self.forms[alike.clone()];
        // The last form that is not behind the text in order: whichever form the text
        // begins with, this one begins with it, too.
        let behind = forms.partition_point(|form| form.text.as_bytes() <= text);
        let mut at = (alike.start + behind).checked_sub(1)?;
        while !text.starts_with(self.forms[at].text.as_bytes()) {
            at = self.forms[at].shorter?;
        }
        Some(&self.forms[at])
    }

    /// The text without secrets. JSON stays JSON.
    pub(super) fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let bytes = text.as_bytes();
        let mut hidden = String::new();
        let (mut kept, mut at) = (0, 0);
        while at < bytes.len() {
            let form = match self.first[usize::from(bytes[at])] {
                true => self.form(&bytes[at..]),
                false => None,
            };
            let Some(form) = form else {
                at += 1;
                continue;
            };
            hidden.push_str(&text[kept..at]);
            hidden.push_str(&form.instead);
            at += form.text.len();
            kept = at;
        }
        if kept == 0 {
            return Cow::Borrowed(text);
        }
        hidden.push_str(&text[kept..]);
        Cow::Owned(hidden)
    }

    /// Hides secrets in the words of an ending, and in its result: both are stored.
    pub(super) fn hide_in(&self, outcome: &mut Outcome) {
        match outcome {
            Outcome::Retry { failure, .. } | Outcome::Fail { failure } => {
                self.hide_failure(failure);
            }
            Outcome::Cancel { reason } => self.replace(reason),
            Outcome::Complete { result } => {
                self.replace(result);
                // A secret that is a number left a hole.
                if super::json::check(result).is_err() {
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

/// The first bytes of a text, if it has that many.
fn start_of(text: &[u8]) -> Option<Start> {
    text.first_chunk().copied()
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
    for keep in ["-._~", "-._~!'()*", "-._*"] {
        for percent in [percent::<true>(value, keep), percent::<false>(value, keep)] {
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

/// Percent-encoding of all but letters, digits and `keep`.
fn percent<const UPPER: bool>(value: &str, keep: &str) -> String {
    use std::fmt::Write as _;

    let mut text = String::new();
    for byte in value.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || keep.contains(c) {
            text.push(c);
        } else if UPPER {
            write!(text, "%{byte:02X}").expect("a string");
        } else {
            write!(text, "%{byte:02x}").expect("a string");
        }
    }
    text
}

#[cfg(test)]
mod tests;
