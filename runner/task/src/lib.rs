//! Types and rules of the queue, without side effects.
//!
//! Defines tasks, their states and transitions, the limits of one attempt, and the central
//! decision of the product: how a task continues when an attempt ends ([`decide`]). Uses no SQL,
//! no wasmtime, no async runtime, no clock and no randomness: delays and jitter are arguments,
//! so every rule here is tested in microseconds.

mod attempt;
mod database;
mod grant;
mod grant_report;
mod handler;
mod ids;
mod limit_report;
mod limit_unit;
mod limits;
mod log;
mod manifest;
mod network;
mod outcome;
mod proxy;
mod push;
mod push_facts;
mod signal;
mod state;
mod traits;
mod transition;
mod unprintable;

// The vocabulary that plugins share, for the crates above.
pub use pgtq_contract::{
    Backoff, Coverage, HandlerRule, HostRule, HttpRule, HttpTarget, LimitRequest, Name, NameError,
    Needs, PluginInfo, PortRule, PushDefaults, PushRule, Retries, RetryPolicy, TargetError,
    TcpRule, host, is_guest_directory,
};

pub use attempt::{Attempt, Task};
pub use database::{Database, DatabaseFuture, GuestError, NoDatabase};
pub use grant::{FileGrant, Grant, GrantBook, Secret, SecretGrant, SqlGrant};
pub use grant_report::{
    GrantReport, MAX_REFUSED, PluginGrantReport, missing_grants, quoted as toml_text, toml_key,
};
pub use handler::{Handler, HandlerFuture};
pub use ids::{ClaimId, Digest, RunnerId, TaskId};
pub use limit_report::{LimitCut, toml_limits};
pub use limit_unit::LimitUnit;
pub use limits::{LimitField, Limits};
pub use log::{LogLevel, LogLine, LogPage, LogPageLimit, LogTail};
pub use manifest::{HandlerInfo, Manifest};
pub use network::{AddressKind, Destination, Network};
pub use outcome::{AttemptRecord, ErrorKind, Failure, Outcome, Report, Usage};
pub use proxy::HttpProxy;
pub use push::{MAX_ARGS_BYTES, NewTask};
pub use push_facts::{PushFacts, PushLook, TooManyWait};
pub use signal::{CANCEL_GRACE, Progress, Signal, StopReason};
pub use state::State;
pub use traits::Traits;
pub use transition::{MAX_CRASHES, MIN_DELAY, Transition, decide};
pub use unprintable::is_unprintable;

#[cfg(test)]
mod tests;
