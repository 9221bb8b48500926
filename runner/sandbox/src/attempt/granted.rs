//! The current grants of one plugin, and values derived from them once per grant book
//! rather than once per attempt.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;

use crate::attempt::redact::Redactor;
use pgtq_task::{Grant, GrantBook};

/// The grants of one plugin, shared by its handlers.
pub(crate) struct PluginGrants {
    /// The plugin's name in grants.
    pub(crate) plugin: Arc<str>,
    grants: Arc<ArcSwap<GrantBook>>,
    now: ArcSwap<Granted>,
    /// Locked while a new book is looked up: once, however many attempts ask.
    looking: Mutex<()>,
}

/// One grant book's entries for one plugin.
pub(crate) struct Granted {
    /// Secrets come from here.
    pub(crate) book: Arc<GrantBook>,
    pub(crate) grant: Arc<Grant>,
    /// Made for the first attempt that needs it: a large secret takes a while.
    redactor: OnceLock<Option<Arc<Redactor>>>,
}

impl Granted {
    fn new(book: Arc<GrantBook>, plugin: &str) -> Arc<Granted> {
        Arc::new(Granted {
            grant: book.of(plugin),
            book,
            redactor: OnceLock::new(),
        })
    }

    /// Redacts the secrets that the plugin may have, if it may have any. One per book.
    pub(crate) fn redactor(&self) -> Option<Arc<Redactor>> {
        let made = self
            .redactor
            .get_or_init(|| Redactor::of(&self.grant, &self.book));
        made.clone()
    }
}

impl PluginGrants {
    pub(crate) fn new(plugin: &str, grants: &Arc<ArcSwap<GrantBook>>) -> Arc<PluginGrants> {
        Arc::new(PluginGrants {
            plugin: Arc::from(plugin),
            now: ArcSwap::new(Granted::new(grants.load_full(), plugin)),
            grants: Arc::clone(grants),
            looking: Mutex::new(()),
        })
    }

    /// The grants of the plugin under another name.
    pub(crate) fn renamed(&self, plugin: &str) -> Arc<PluginGrants> {
        PluginGrants::new(plugin, &self.grants)
    }

    /// The grants of the current book.
    pub(crate) fn now(&self) -> Arc<Granted> {
        let book = self.grants.load();
        let now = self.now.load();
        if Arc::ptr_eq(&now.book, &book) {
            return Arc::clone(&now);
        }
        let _one_at_a_time = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let book = self.grants.load_full();
        let now = self.now.load();
        if Arc::ptr_eq(&now.book, &book) {
            return Arc::clone(&now);
        }
        let new = Granted::new(book, &self.plugin);
        self.now.store(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgtq_task::{Secret, SecretGrant};

    fn book(value: &str) -> GrantBook {
        let mut grant = Grant::default();
        let read = SecretGrant {
            read: true,
            ..SecretGrant::default()
        };
        grant.secrets.insert("key".into(), read);
        GrantBook {
            plugins: [("mailer".to_owned(), Arc::new(grant))].into(),
            secrets: [("key".to_owned(), Secret::new(value))].into(),
        }
    }

    #[test]
    fn a_redactor_is_made_once_per_book() {
        let grants = Arc::new(ArcSwap::from_pointee(book("hunter2-hunter2")));
        let plugin = PluginGrants::new("mailer", &grants);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let plugin = Arc::clone(&plugin);
                std::thread::spawn(move || plugin.now().redactor().expect("it has a secret"))
            })
            .collect();
        let made: Vec<_> = threads
            .into_iter()
            .map(|t| t.join().expect("no panic"))
            .collect();
        assert!(made.iter().all(|redactor| Arc::ptr_eq(redactor, &made[0])));
        assert_eq!(made[0].hide("hunter2-hunter2"), "[secret:key]");

        grants.store(Arc::new(book("another-value")));
        let new = plugin.now().redactor().expect("it has a secret");
        assert!(!Arc::ptr_eq(&new, &made[0]));
        assert_eq!(new.hide("another-value"), "[secret:key]");
        assert_eq!(new.hide("hunter2-hunter2"), "hunter2-hunter2");
        assert!(plugin.renamed("other").now().redactor().is_none());
    }
}
