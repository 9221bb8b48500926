//! The result of the last look at the database for pushes: how many tasks wait for each plugin,
//! and which handlers plugins of other runners also serve.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arc_swap::ArcSwap;

use pgtq_contract::Name;

/// Shared by the engine, which reads the database, and the sandbox, which rejects pushes.
/// Neither waits for the other.
#[derive(Debug)]
pub struct PushFacts {
    limit: u64,
    known: ArcSwap<WaitingCounts>,
    elsewhere: ArcSwap<HashSet<Name>>,
    /// Whether a plugin has pushed since the last look.
    pushed: AtomicBool,
}

#[derive(Debug, Default)]
struct WaitingCounts {
    /// For each handler of a plugin, the number of waiting tasks of all handlers of that plugin.
    of_plugin: HashMap<Name, u64>,
    /// Waiting tasks of handlers that belong to no plugin here.
    of_others: u64,
    is_over: bool,
}

/// The result of one look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushLook {
    /// Waiting tasks by handler, estimated.
    pub waiting: Vec<(Name, u64)>,
    /// Handlers of this runner that another live runner serves from another file.
    pub elsewhere: Vec<Name>,
}

/// The limit of waiting tasks is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyWait {
    /// An estimate.
    pub waiting: u64,
    /// `limits.waiting`.
    pub limit: u64,
}

impl PushFacts {
    /// The default limit: a million tasks for one plugin.
    pub const DEFAULT_LIMIT: u64 = 1_000_000;

    /// Before the first look, no task counts as waiting.
    pub fn new(limit: u64) -> Self {
        PushFacts {
            limit,
            known: ArcSwap::default(),
            elsewhere: ArcSwap::default(),
            pushed: AtomicBool::new(false),
        }
    }

    /// Records that a plugin pushes, or tries to: it makes the next look due.
    pub fn note_push(&self) {
        if !self.pushed.load(Relaxed) {
            self.pushed.store(true, Relaxed);
        }
    }

    /// An error if the limit of waiting tasks is reached. All handlers of one plugin count
    /// together, and so do all handlers without a plugin.
    pub fn check(&self, handler: &str) -> Result<(), TooManyWait> {
        let known = self.known.load();
        let waiting = *known.of_plugin.get(handler).unwrap_or(&known.of_others);
        match waiting < self.limit {
            true => Ok(()),
            false => Err(TooManyWait {
                waiting,
                limit: self.limit,
            }),
        }
    }

    /// Whether a new look is needed: a plugin has pushed since the last one, or is blocked by
    /// its result.
    pub fn is_stale(&self) -> bool {
        self.pushed.swap(false, Relaxed) || self.known.load().is_over
    }

    /// Whether a plugin of another name serves this handler, too: a task for it could run there,
    /// so the handler does not belong to this plugin alone.
    pub fn is_served_elsewhere(&self, handler: &str) -> bool {
        self.elsewhere.load().contains(handler)
    }

    /// Applies the result of a look; `plugins` are the handlers of each plugin here. Returns the
    /// largest count if it reaches the limit now and did not at the previous look.
    pub fn set<'a>(
        &self,
        look: PushLook,
        plugins: impl IntoIterator<Item = &'a [Name]>,
    ) -> Option<TooManyWait> {
        let waiting = look.waiting.iter();
        let mut left: HashMap<&str, u64> = waiting.map(|(name, n)| (name.as_str(), *n)).collect();
        let mut of_plugin = HashMap::new();
        for handlers in plugins {
            let counts = handlers.iter().map(|name| left.remove(name.as_str()));
            let sum: u64 = counts.map(Option::unwrap_or_default).sum();
            of_plugin.extend(handlers.iter().map(|name| (name.clone(), sum)));
        }
        let of_others = left.into_values().sum();
        let most = of_plugin.values().copied().max().unwrap_or_default();
        let most = most.max(of_others);
        let is_over = most >= self.limit;
        let before = self.known.swap(Arc::new(WaitingCounts {
            is_over,
            of_plugin,
            of_others,
        }));
        self.set_elsewhere(look.elsewhere);
        (is_over && !before.is_over).then_some(TooManyWait {
            waiting: most,
            limit: self.limit,
        })
    }

    /// Sets the handlers that other plugins of other runners serve, too.
    pub fn set_elsewhere(&self, handlers: Vec<Name>) {
        self.elsewhere
            .store(Arc::new(handlers.into_iter().collect()));
    }
}

impl Default for PushFacts {
    fn default() -> Self {
        PushFacts::new(PushFacts::DEFAULT_LIMIT)
    }
}

impl fmt::Display for TooManyWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "about {} tasks of this plugin wait already, its limit is {}; push again when they have run, or raise `limits.waiting`",
            self.waiting, self.limit
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn look(waiting: &[(Name, u64)]) -> PushLook {
        PushLook {
            waiting: waiting.to_vec(),
            elsewhere: vec![name("shared")],
        }
    }

    #[test]
    fn handlers_of_one_plugin_count_together_and_so_do_those_without() {
        let facts = PushFacts::new(10);
        assert_eq!(facts.check("a"), Ok(()));
        let plugin = [name("a"), name("b")];
        let other = [name("c")];
        let found = [
            (name("a"), 4),
            (name("b"), 6),
            (name("c"), 9),
            (name("x"), 3),
            (name("y"), 8),
        ];
        facts.set(look(&found), [&plugin[..], &other[..]]);
        let full = |waiting| Err(TooManyWait { waiting, limit: 10 });
        assert_eq!(facts.check("a"), full(10));
        assert_eq!(facts.check("b"), full(10));
        assert_eq!(facts.check("c"), Ok(()));
        assert_eq!(facts.check("z"), full(11));
        assert!(facts.is_served_elsewhere("shared") && !facts.is_served_elsewhere("a"));
    }

    #[test]
    fn a_look_is_due_after_a_push_and_while_the_limit_is_reached() {
        let facts = PushFacts::new(2);
        assert!(!facts.is_stale());
        facts.note_push();
        assert!(facts.is_stale() && !facts.is_stale());
        let plugin = [name("a")];
        facts.set(look(&[(name("a"), 2)]), [&plugin[..]]);
        assert!(facts.is_stale() && facts.is_stale());
        facts.set(look(&[(name("a"), 1)]), [&plugin[..]]);
        assert!(!facts.is_stale());
    }
}
