//! Compares the expected with the actual outcome, and describes the differences.

use serde_json::{Map, Value};

use super::case::{Case, EXPECTATIONS};
use super::fakes::plain;
use super::observed::Observed;

/// Keys of which exactly one is observed.
const OUTCOMES: [&str; 4] = ["result", "error", "snoozed_ms", "cancelled"];
/// Whether the lists are equal; [`ANY`] equals every value.
pub(super) fn all_same(expected: &[Value], got: &[Value]) -> bool {
    let fits = |(expected, got): (&Value, &Value)| expected == ANY || same(expected, got);
    expected.len() == got.len() && expected.iter().zip(got).all(fits)
}

/// Matches any value, for example a time.
const ANY: &str = "{{any}}";
/// Limit on the reported differences of one case.
const MAX_DIFFERENCES: usize = 20;
/// Limit on the shown characters of a value.
const MAX_SHOWN: usize = 400;

/// One difference between the expected and the actual outcome.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Difference {
    /// The path: `result.items[2].price`.
    pub(crate) at: String,
    /// JSON or a sentence; empty if nothing was expected.
    pub(crate) expected: String,
    /// JSON; empty if the value is missing.
    pub(crate) got: String,
}

/// All differences, at most [`MAX_DIFFERENCES`].
pub(crate) fn check(case: &Case, observed: &Observed) -> Vec<Difference> {
    let mut found = Found(Vec::new());
    for line in &observed.loose_ends {
        found.sentence("the case", line);
    }
    if case.expect.is_empty() {
        found.sentence(
            "expect",
            "the case expects nothing; `pgtq test --update` records the actual outcome",
        );
        return found.0;
    }
    outcome(&case.expect, &observed.facts, &mut found);
    for word in EXPECTATIONS {
        let (Some(expected), Some(got)) = (case.expect.get(word), observed.facts.get(word)) else {
            continue;
        };
        match word {
            "result" | "snoozed_ms" | "state" => found.exact(word, expected, got),
            "error" => error(expected, got, &mut found),
            "logs" => logs(expected, got, &mut found),
            "sql_statements" => {
                found.list(word, &statements(expected), &statements_of(expected, got));
            }
            "files" => files(expected, got, &mut found),
            "cancelled" => found.contains(word, expected, got),
            _ => found.list(word, expected, got),
        }
    }
    found.0.truncate(MAX_DIFFERENCES);
    found.0
}

/// Compares the kind of the outcome; without an expectation it must be a success.
fn outcome(expect: &Map<String, Value>, facts: &Map<String, Value>, found: &mut Found) {
    let Some((word, got)) = OUTCOMES
        .iter()
        .find_map(|word| Some((*word, facts.get(*word)?)))
    else {
        return;
    };
    match OUTCOMES.iter().find(|word| expect.contains_key(**word)) {
        Some(wanted) if *wanted != word => {
            found.put(
                wanted,
                &shown(&expect[*wanted]),
                &format!("{word} {}", shown(got)),
            );
        }
        None if word != "result" => {
            found.put("outcome", "success", &format!("{word} {}", shown(got)));
        }
        _ => {}
    }
}

/// The message must contain the expected text; all other given fields must be equal.
fn error(expected: &Value, got: &Value, found: &mut Found) {
    let Value::Object(fields) = expected else {
        return found.contains("error.message", expected, &got["message"]);
    };
    for (name, expected) in fields {
        let at = format!("error.{name}");
        match name.as_str() {
            "message" => found.contains(&at, expected, &got[name.as_str()]),
            "kind" | "code" | "retry" | "after_ms" | "details" => {
                found.exact(&at, expected, &got[name.as_str()]);
            }
            _ => found.sentence(
                &at,
                "unknown key; known keys are kind, code, message, retry, after_ms, details",
            ),
        }
    }
}

/// Each expected text must be part of a line.
fn logs(expected: &Value, got: &Value, found: &mut Found) {
    let lines: Vec<&str> = texts(got).collect();
    for part in texts(expected) {
        if !lines.iter().any(|line| line.contains(part)) {
            let expected = format!("a line that contains {part:?}");
            found.put("logs", &expected, &lines.join("\n"));
        }
    }
    if !expected.is_array() {
        found.sentence("logs", "write a list of strings");
    }
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    let items = list.as_array().map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(Value::as_str)
}

/// Normalizes the whitespace of expected statements.
fn statements(expected: &Value) -> Value {
    let mut expected = expected.clone();
    for item in expected.as_array_mut().into_iter().flatten() {
        let text = match item {
            Value::String(_) => Some(item),
            item => item.get_mut("statement"),
        };
        if let Some(text) = text {
            *text = plain(text.as_str().unwrap_or_default()).into();
        }
    }
    expected
}

/// Reduces the actual statements to their text where only the text is expected.
fn statements_of(expected: &Value, got: &Value) -> Value {
    let mut got = got.clone();
    for (n, item) in got.as_array_mut().into_iter().flatten().enumerate() {
        if expected.get(n).is_none_or(Value::is_string) {
            *item = item["statement"].clone();
        }
    }
    got
}

/// Compares the named files; `null` means that the file must not exist.
fn files(expected: &Value, got: &Value, found: &mut Found) {
    for (path, expected) in expected.as_object().into_iter().flatten() {
        let got = got.get(path).unwrap_or(&Value::Null);
        found.exact(&format!("files {path}"), expected, got);
    }
}

struct Found(Vec<Difference>);

impl Found {
    fn put(&mut self, at: &str, expected: &str, got: &str) {
        if self.0.len() <= MAX_DIFFERENCES {
            self.0.push(Difference {
                at: at.to_owned(),
                expected: expected.to_owned(),
                got: got.to_owned(),
            });
        }
    }

    fn sentence(&mut self, at: &str, sentence: &str) {
        self.put(at, sentence, "");
    }

    /// The values must be equal.
    fn exact(&mut self, at: &str, expected: &Value, got: &Value) {
        self.compare(at, expected, got, true);
    }

    /// Lists must be equal item by item; objects may have additional fields.
    fn list(&mut self, at: &str, expected: &Value, got: &Value) {
        self.compare(at, expected, got, false);
    }

    fn compare(&mut self, at: &str, expected: &Value, got: &Value, exact: bool) {
        match (expected, got) {
            (Value::String(any), _) if any == ANY => {}
            (Value::Object(wanted), Value::Object(there)) => {
                for (name, expected) in wanted {
                    let got = there.get(name);
                    self.part(&format!("{at}.{name}"), Some(expected), got, exact);
                }
                for (name, got) in there.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
                    if exact {
                        self.part(&format!("{at}.{name}"), None, Some(got), exact);
                    }
                }
            }
            (Value::Array(wanted), Value::Array(there)) => {
                for n in 0..wanted.len().max(there.len()) {
                    self.part(&format!("{at}[{n}]"), wanted.get(n), there.get(n), exact);
                }
            }
            (Value::String(wanted), Value::String(there)) if wanted != there => {
                self.text(at, wanted, there);
            }
            (expected, got) if !same(expected, got) => self.put(at, &shown(expected), &shown(got)),
            _ => {}
        }
    }

    fn part(&mut self, at: &str, expected: Option<&Value>, got: Option<&Value>, exact: bool) {
        match (expected, got) {
            (Some(expected), Some(got)) => self.compare(at, expected, got, exact),
            (Some(expected), None) => self.put(at, &shown(expected), ""),
            (None, Some(got)) => self.put(at, "", &shown(got)),
            (None, None) => {}
        }
    }

    /// Compares strings; reports the first different line of multi-line strings.
    fn text(&mut self, at: &str, expected: &str, got: &str) {
        if !expected.contains('\n') && !got.contains('\n') {
            return self.put(at, &shown(&expected.into()), &shown(&got.into()));
        }
        let (mut wanted, mut there) = (expected.split('\n'), got.split('\n'));
        for line in 1.. {
            let (wanted, there) = (wanted.next(), there.next());
            if wanted != there {
                let shown =
                    |line: Option<&str>| line.map_or_else(String::new, |l| shown(&l.into()));
                return self.put(&format!("{at} line {line}"), &shown(wanted), &shown(there));
            }
            if wanted.is_none() {
                return;
            }
        }
    }

    fn contains(&mut self, at: &str, expected: &Value, got: &Value) {
        let (wanted, text) = (expected.as_str(), got.as_str().unwrap_or_default());
        if wanted.is_none_or(|wanted| !text.contains(wanted)) {
            let expected = format!("a string that contains {}", shown(expected));
            self.put(at, &expected, &shown(got));
        }
    }
}

/// Numbers are equal by value: 5 equals 5.0.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            a == b || x.is_f64() != y.is_f64() && x.as_f64() == y.as_f64()
        }
        _ => a == b,
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        None => text,
        Some((at, _)) => format!("{}… ({} bytes)", &text[..at], text.len()),
    }
}
