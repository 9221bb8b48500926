//! The facts that a guest's host calls return, and their effects, whichever way the guest
//! was entered: through its component ([`linker`](crate::run::linker)) or directly
//! ([`direct`](crate::direct)).
//!
//! Facts about the task are empty or zero while the plugin describes itself.

use std::time::{Duration, SystemTime};

use crate::attempt::state::StoreData;
use crate::bindings::Level;
use crate::text::clean;
use pgtq_task::{Attempt, LogLevel, Progress};

/// Maximum bytes of a progress message that are kept.
const PROGRESS_BYTES: usize = 200;

fn fact<T: Default>(state: &StoreData, fact: impl FnOnce(&Attempt) -> T) -> T {
    state.attempt.as_ref().map(fact).unwrap_or_default()
}

pub(crate) fn task_id(state: &StoreData) -> u64 {
    fact(state, |a| a.task.id.0.unsigned_abs())
}

pub(crate) fn attempt(state: &StoreData) -> u32 {
    fact(state, Attempt::number)
}

pub(crate) fn queue(state: &StoreData) -> String {
    fact(state, |a| a.task.queue.to_string())
}

pub(crate) fn idempotency_key(state: &StoreData) -> String {
    fact(state, Attempt::idempotency_key)
}

pub(crate) fn pushed_at_ms(state: &StoreData) -> u64 {
    fact(state, |a| millis(a.task.pushed_at))
}

pub(crate) fn due_at_ms(state: &StoreData) -> u64 {
    fact(state, |a| millis(a.task.due_at))
}

pub(crate) fn is_cancelled(state: &StoreData) -> bool {
    fact(state, |a| a.signal.poll_cancelled())
}

pub(crate) fn remaining_ms(state: &StoreData) -> u64 {
    whole_millis(state.limits.timeout.saturating_sub(state.started.elapsed()))
}

pub(crate) fn log(
    state: &StoreData,
    level: Level,
    message: &str,
    fields: &str,
) -> wasmtime::Result<()> {
    let level = match level {
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
    };
    Ok(state.logs.lock().write(level, message, fields)?)
}

pub(crate) fn panicked(state: &StoreData, message: &str) {
    state.logs.lock().panicked(message);
}

pub(crate) fn progress(state: &StoreData, fraction: f64, message: &str) {
    if let Some(attempt) = &state.attempt {
        let fraction = if fraction.is_nan() { 0.0 } else { fraction };
        let message = state.logs.lock().hidden(message).into_owned();
        attempt.signal.report(Progress {
            fraction: fraction.clamp(0.0, 1.0),
            message: clean(&message, PROGRESS_BYTES),
        });
    }
}

fn millis(at: jiff::Timestamp) -> u64 {
    SystemTime::from(at)
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, whole_millis)
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
