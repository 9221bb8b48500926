//! What one attempt may reach outside of its sandbox: what its handler asks
//! for, and what the operator grants to its plugin at this moment.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::state::State;
use crate::task::{Grant, GrantBook, HandlerInfo, LogLevel, Needs, Problem};

/// Made for handlers that ask for something; all others have none.
pub(super) struct Access {
    /// What grants call the plugin.
    pub(super) plugin: Arc<str>,
    pub(super) info: Arc<HandlerInfo>,
    pub(super) grant: Arc<Grant>,
    /// The grants of the moment the attempt began: secrets come from here.
    pub(super) book: Arc<GrantBook>,
}

impl Access {
    pub(super) fn new(
        plugin: &Arc<str>,
        info: &Arc<HandlerInfo>,
        grants: &ArcSwap<GrantBook>,
    ) -> Option<Box<Access>> {
        if info.needs.is_empty() {
            return None;
        }
        let book = grants.load_full();
        Some(Box::new(Access {
            plugin: Arc::clone(plugin),
            info: Arc::clone(info),
            grant: book.of(plugin),
            book,
        }))
    }

    pub(super) fn needs(&self) -> &Needs {
        &self.info.needs
    }
}

/// Something that was not both asked for and granted. Becomes an error value
/// for the guest, and a line in the attempt's log with what to write where.
pub(super) struct Denied {
    /// What was tried: `GET https://api.example.com/`.
    pub(super) what: String,
    /// What the author has to ask for, if the handler does not:
    /// `http = "https://api.example.com"`.
    pub(super) need: Option<String>,
    /// The line to paste below `[grants.NAME]`, if the operator does not grant it.
    pub(super) grant: Option<String>,
}

impl Denied {
    /// Logs it with the attempt and for the operator; returns the guest's error.
    pub(super) fn tell(self, state: &mut State) -> Problem {
        let plugin = state
            .access
            .as_ref()
            .map(|access| Arc::clone(&access.plugin));
        let plugin = plugin.as_deref().unwrap_or("NAME");
        let Denied { what, need, grant } = self;
        let mut lines = Vec::new();
        if let Some(need) = need {
            lines.push(format!(
                "the handler does not ask for it: write #[handler(needs({need}))]"
            ));
        }
        if let Some(grant) = grant {
            let toml = format!("[grants.{plugin}]\n{grant}");
            tracing::warn!(
                plugin,
                what,
                "denied {what}; to grant it, put into pgtq.toml:\n{toml}"
            );
            lines.push(format!("it is not granted: put into pgtq.toml:\n{toml}"));
        }
        let message = format!("denied {what}: {}", lines.join("; and "));
        // A flood is noticed by the next line that the guest itself writes.
        let _ = super::state::lock(&state.logs).write(LogLevel::Warn, &message, "");
        Problem::new("denied", message)
    }
}
