//! The TCP connections of one attempt, and what its log says about them.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

use crate::attempt::denied::Denied;
use crate::attempt::state::{CapabilityContext, StoreData};
use crate::capability::tcp::rules::LookedUp;
use crate::net::permit::ConnectionPermit;
use crate::wasi::meter::Meter;
use pgtq_task::LogLevel;

/// The TCP state of one attempt.
pub(crate) struct Tcp {
    pub(crate) names: LookedUp,
    /// Names that were looked up.
    pub(crate) n_lookups: u32,
    pub(super) connections: u32,
    pub(super) bytes: Arc<Meter>,
    /// The plugin's permits, by the socket's number.
    pub(super) permits: HashMap<u32, ConnectionPermit>,
    /// Whether the log already says that the limit of connections is reached.
    pub(super) logged: bool,
}

impl CapabilityContext for Tcp {
    fn new(state: &StoreData) -> Self {
        Tcp {
            names: LookedUp::default(),
            n_lookups: 0,
            connections: 0,
            bytes: Meter::new(
                state.limits.tcp_bytes,
                over_budget,
                libc::ECONNABORTED,
                &state.logs,
            ),
            permits: HashMap::new(),
            logged: false,
        }
    }
}

fn over_budget(limit: u64) -> String {
    format!(
        "this attempt may send and receive at most {limit} bytes over TCP; raise `limits.tcp_bytes`"
    )
}

/// Logs a denial, unless the log has it already.
pub(crate) fn refuse(state: &mut StoreData, denied: Denied) -> ErrorCode {
    if state.context::<Tcp>().names.should_log(&denied.what) {
        let _ = denied.report(state);
    }
    ErrorCode::AccessDenied
}

/// Writes to the attempt's log, once.
pub(crate) fn log_once(state: &mut StoreData, message: &str) {
    if state.context::<Tcp>().names.should_log(message) {
        let _ = state.logs.lock().write(LogLevel::Warn, message, "");
    }
}

pub(super) fn too_many(state: &mut StoreData) -> ErrorCode {
    if !std::mem::replace(&mut state.context::<Tcp>().logged, true) {
        let message = format!(
            "this attempt may open at most {} TCP connections; raise `limits.tcp_connections`",
            state.limits.tcp_connections
        );
        let _ = state.logs.lock().write(LogLevel::Warn, &message, "");
    }
    ErrorCode::NewSocketLimit
}

/// The latest end of the attempt.
pub(crate) fn deadline(state: &StoreData) -> Instant {
    Instant::from_std(state.started) + state.limits.timeout
}
