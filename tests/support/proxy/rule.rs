//! Rules of fault injection.

use std::collections::HashMap;

/// A fault injected into a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    None,
    /// Cuts the connection before the server receives the statement.
    CutBefore,
    /// Cuts the connection after the server has executed the statement, before the
    /// response.
    CutAfter,
    /// Forwards the statement and cuts the connection at once: a race.
    CutDuring,
    /// Holds the connection until [`super::Proxy::release`].
    Hold,
}

/// Matches statements, and lists the faults of successive matches.
#[derive(Debug, Clone)]
pub struct Rule {
    text: String,
    exact: bool,
    user: Option<String>,
    faults: Vec<Fault>,
    repeat: bool,
    per_text: bool,
    n_seen: HashMap<String, usize>,
}

impl Rule {
    /// Matches statements that contain `text`, including in comments.
    pub fn on(text: &str) -> Self {
        Rule {
            text: text.to_owned(),
            exact: false,
            user: None,
            faults: vec![Fault::None],
            repeat: false,
            per_text: false,
            n_seen: HashMap::new(),
        }
    }

    /// Matches statements that are equal to `text`.
    pub fn exactly(text: &str) -> Self {
        Rule {
            exact: true,
            ..Rule::on(text)
        }
    }

    /// Matches only connections of this user.
    #[must_use]
    pub fn of(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Sets the faults of the first match, the second, and so on. Later matches have no
    /// fault.
    #[must_use]
    pub fn faults(mut self, faults: &[Fault]) -> Self {
        faults.clone_into(&mut self.faults);
        self
    }

    /// Repeats the list of faults.
    #[must_use]
    pub fn repeat(mut self) -> Self {
        self.repeat = true;
        self
    }

    /// Counts the matches of each statement text separately.
    #[must_use]
    pub fn per_text(mut self) -> Self {
        self.per_text = true;
        self
    }

    /// The fault for this statement; `None` if the rule does not apply.
    pub(super) fn fault_for(&mut self, user: &str, text: &str) -> Option<Fault> {
        let is_user = self.user.as_ref().is_none_or(|known| known == user);
        let is_text = match self.exact {
            true => text == self.text,
            false => text.contains(&self.text),
        };
        if !is_user || !is_text {
            return None;
        }
        let key = if self.per_text { text } else { "" };
        let n_seen = self.n_seen.entry(key.to_owned()).or_default();
        let index = *n_seen;
        *n_seen += 1;
        let index = match self.repeat {
            true => index % self.faults.len(),
            false => index,
        };
        self.faults.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::Fault::{CutAfter, CutBefore};
    use super::*;

    #[test]
    fn faults_are_used_in_order() {
        let mut rule = Rule::exactly("COMMIT").faults(&[CutBefore, Fault::None]);
        assert_eq!(
            rule.fault_for("a", "BEGIN ISOLATION LEVEL READ COMMITTED"),
            None
        );
        let faults = [(); 3].map(|()| rule.fault_for("a", "COMMIT"));
        assert_eq!(faults, [Some(CutBefore), Some(Fault::None), None]);
    }

    #[test]
    fn faults_repeat_for_each_text_of_one_user() {
        let mut rule = Rule::on("").of("eve").faults(&[CutBefore, CutAfter]);
        rule = rule.repeat().per_text();
        assert_eq!(rule.fault_for("adam", "SELECT 1"), None);
        let mut next = |text| rule.fault_for("eve", text).unwrap();
        assert_eq!(
            [next("a"), next("a"), next("a")],
            [CutBefore, CutAfter, CutBefore]
        );
        assert_eq!(next("b"), CutBefore);
    }
}
