//! What a proxy does to a statement that somebody waits for.

use std::collections::HashMap;

/// What happens to a statement on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Passes,
    /// The connection is cut and the server never hears of it.
    LostBefore,
    /// The server has executed it; then the connection is cut, and nobody hears of that.
    LostBehind,
    /// The server gets it and the connection is cut at once: nobody knows which
    /// of the two is faster.
    LostMeanwhile,
    /// It waits, and with it this connection, until [`super::Proxy::release`].
    Held,
}

/// Which statements, and what happens to one after the other.
#[derive(Debug, Clone)]
pub struct Rule {
    text: String,
    whole: bool,
    user: Option<String>,
    fates: Vec<Fate>,
    again: bool,
    apart: bool,
    n_seen: HashMap<String, usize>,
}

impl Rule {
    /// For statements that have `text` in them, comments included.
    pub fn on(text: &str) -> Self {
        Rule {
            text: text.to_owned(),
            whole: false,
            user: None,
            fates: vec![Fate::Passes],
            again: false,
            apart: false,
            n_seen: HashMap::new(),
        }
    }

    /// For statements that are `text` and nothing else.
    pub fn exactly(text: &str) -> Self {
        Rule {
            whole: true,
            ..Rule::on(text)
        }
    }

    /// Only on connections of this user.
    #[must_use]
    pub fn of(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// What becomes of the first, the second and so on; the ones after these pass.
    #[must_use]
    pub fn fates(mut self, fates: &[Fate]) -> Self {
        fates.clone_into(&mut self.fates);
        self
    }

    /// After the last fate comes the first.
    #[must_use]
    pub fn again(mut self) -> Self {
        self.again = true;
        self
    }

    /// Each text is counted for itself.
    #[must_use]
    pub fn each_text_apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// The fate of this statement, if the rule is about it.
    pub(super) fn judge(&mut self, user: &str, text: &str) -> Option<Fate> {
        let is_theirs = self.user.as_ref().is_none_or(|theirs| theirs == user);
        let is_meant = match self.whole {
            true => text == self.text,
            false => text.contains(&self.text),
        };
        if !is_theirs || !is_meant {
            return None;
        }
        let key = if self.apart { text } else { "" };
        let n_seen = self.n_seen.entry(key.to_owned()).or_default();
        let turn = *n_seen;
        *n_seen += 1;
        let turn = match self.again {
            true => turn % self.fates.len(),
            false => turn,
        };
        self.fates.get(turn).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::Fate::{LostBefore, LostBehind, Passes};
    use super::*;

    #[test]
    fn fates_come_in_order_and_then_no_more() {
        let mut rule = Rule::exactly("COMMIT").fates(&[LostBefore, Passes]);
        assert_eq!(
            rule.judge("a", "BEGIN ISOLATION LEVEL READ COMMITTED"),
            None
        );
        let fates = [(); 3].map(|()| rule.judge("a", "COMMIT"));
        assert_eq!(fates, [Some(LostBefore), Some(Passes), None]);
    }

    #[test]
    fn fates_come_again_for_each_text_of_one_user() {
        let mut rule = Rule::on("").of("eve").fates(&[LostBefore, LostBehind]);
        rule = rule.again().each_text_apart();
        assert_eq!(rule.judge("adam", "SELECT 1"), None);
        let mut say = |text| rule.judge("eve", text).unwrap();
        assert_eq!(
            [say("a"), say("a"), say("a")],
            [LostBefore, LostBehind, LostBefore]
        );
        assert_eq!(say("b"), LostBefore);
    }
}
