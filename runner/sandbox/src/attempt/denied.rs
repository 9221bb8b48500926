//! What a guest gets, and its log says, when a call is not both requested and granted.

use crate::attempt::logs::SharedLogs;
use crate::attempt::state::StoreData;
use crate::text::clean;
use pgtq_task::{GuestError, LogLevel, toml_key, toml_text};

/// Denials of one attempt that are logged: a loop of them must not fill the operator's
/// log.
const MAX_LOGGED: u32 = 20;
/// Bytes of the denied target that are shown.
const WHAT_BYTES: usize = 1 << 10;
/// Bytes of a configuration line that are shown.
const LINE_BYTES: usize = 8 << 10;

/// A TOML array: the existing items and one more.
pub(crate) fn list(key: &str, mut items: Vec<String>, one_more: String) -> String {
    items.push(one_more);
    let items: Vec<String> = items.iter().map(|item| toml_text(item)).collect();
    format!("{key} = [{}]", items.join(", "))
}

/// An operation that is not both requested and granted. Becomes an error value for the
/// guest, and a line in the attempt's log that says what to write where.
pub(crate) struct Denied {
    /// The denied operation: `GET https://api.example.com/`.
    pub(crate) what: String,
    /// What the author must request, if the handler does not: `http =
    /// "https://api.example.com"`.
    pub(crate) need: Option<String>,
    /// The line to add below `[grants.NAME]`, if the operator does not grant it.
    pub(crate) grant: Option<String>,
}

impl Denied {
    /// Logs it with the attempt and for the operator, the first [`MAX_LOGGED`] times; returns
    /// the guest's error.
    pub(crate) fn report(self, state: &mut StoreData) -> GuestError {
        state.denials = state.denials.saturating_add(1);
        if state.denials > MAX_LOGGED {
            let message = format!("denied {}, as before", clean(&self.what, WHAT_BYTES));
            return GuestError::new("denied", message);
        }
        let plugin = state.push_access().map(|access| &**access.plugin());
        self.report_to(plugin, &state.logs)
    }

    /// The same for callers that do not hold the whole state.
    pub(crate) fn report_to(self, plugin: Option<&str>, logs: &SharedLogs) -> GuestError {
        let plugin = plugin.unwrap_or("NAME");
        let Denied { what, need, grant } = self;
        // The guest may have chosen names in it: no control character gets out.
        let what = clean(&logs.lock().hidden(&what), WHAT_BYTES);
        let mut reasons = Vec::new();
        if let Some(need) = need {
            reasons.push(format!(
                "the handler does not ask for it: write #[handler(needs({need}))]"
            ));
        }
        if grant.is_some() {
            reasons.push("it is not granted: put into pgtq.toml:".to_owned());
        }
        let mut message = match reasons.is_empty() {
            true => format!("denied {what}"),
            false => format!("denied {what}: {}", reasons.join("; and ")),
        };
        // Ignores the limit: the next line that the guest itself writes enforces it.
        let log = |line: &str| {
            let _ = logs.lock().write(LogLevel::Warn, line, "");
        };
        log(&message);
        if let Some(grant) = grant {
            // Each on its own line, so that it can be copied.
            let table = format!("[grants.{}]", toml_key(plugin));
            let grant = clean(&grant, LINE_BYTES);
            log(&table);
            log(&grant);
            let toml = format!(
                "{table}
{grant}"
            );
            tracing::warn!(
                plugin,
                what,
                "denied {what}; to grant it, put into pgtq.toml:\n{toml}"
            );
            message = format!("{message}\n{toml}");
        }
        GuestError::new("denied", message)
    }
}
