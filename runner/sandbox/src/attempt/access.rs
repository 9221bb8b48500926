//! What one attempt may reach outside of its sandbox: what its handler requests and the
//! operator grants to its plugin at this moment.

use std::sync::Arc;

use crate::attempt::granted::Granted;
use crate::attempt::logs::clean;
use crate::attempt::redact::Redactor;
use crate::attempt::state::{SharedLogs, State};
use crate::capability::http::fake::FakeHttp;
use crate::capability::push::Pusher;
use crate::net::Net;
use crate::run::load::Shared;
use pgtq_task::{
    Grant, GrantBook, HandlerInfo, HttpProxy, LogLevel, Needs, Problem, toml_key, toml_text,
};

/// Denials of one attempt that are logged: a loop of them must not fill the operator's
/// log.
const MAX_LOGGED: u32 = 20;
/// Bytes of the denied target that are shown.
const WHAT_BYTES: usize = 1 << 10;
/// Bytes of a configuration line that are shown.
const LINE_BYTES: usize = 8 << 10;

/// Exists for handlers that request anything besides pushes; all others have none. A
/// clone is another handle to the same state.
#[derive(Clone)]
pub(crate) struct Access {
    /// The plugin's name in grants.
    pub(crate) plugin: Arc<str>,
    pub(crate) info: Arc<HandlerInfo>,
    pub(crate) grant: Arc<Grant>,
    /// The grants as of the start of the attempt: secrets come from here.
    pub(crate) book: Arc<GrantBook>,
    /// The runner's network access.
    pub(crate) net: Arc<Net>,
    /// The proxy for requests to host names.
    pub(crate) proxy: Option<Arc<HttpProxy>>,
    /// Answers in place of the network.
    pub(crate) fake_http: Option<Arc<dyn FakeHttp>>,
    /// Redacts the secrets that the plugin may have, if it may have any.
    pub(crate) redactor: Option<Arc<Redactor>>,
}

impl Access {
    pub(crate) fn new(
        plugin: &Arc<str>,
        info: &Arc<HandlerInfo>,
        granted: &Granted,
        shared: &Shared,
    ) -> Option<Box<Access>> {
        if info.needs.are_pushes_only() {
            return None;
        }
        Some(Box::new(Access {
            plugin: Arc::clone(plugin),
            info: Arc::clone(info),
            redactor: granted.redactor(),
            grant: Arc::clone(&granted.grant),
            book: Arc::clone(&granted.book),
            net: Arc::clone(&shared.net),
            proxy: shared.config.http_proxy.clone(),
            fake_http: shared.config.fake_http.clone(),
        }))
    }

    pub(crate) fn needs(&self) -> &Needs {
        &self.info.needs
    }
}

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
    pub(crate) fn report(self, state: &mut State) -> Problem {
        state.denials = state.denials.saturating_add(1);
        if state.denials > MAX_LOGGED {
            let message = format!("denied {}, as before", clean(&self.what, WHAT_BYTES));
            return Problem::new("denied", message);
        }
        let plugin = state.pusher.as_ref().map(Pusher::plugin);
        self.report_to(plugin, &state.logs)
    }

    /// The same for callers that do not hold the whole state.
    pub(crate) fn report_to(self, plugin: Option<&str>, logs: &SharedLogs) -> Problem {
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
        Problem::new("denied", message)
    }
}
