//! Explains a trap: what happened, which limit was reached, how to raise it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::attempt::account::MemoryAccount;
use crate::attempt::limiter::Limiter;
use crate::attempt::logs::Logs;
use crate::attempt::machine;
use crate::attempt::stop::HostStop;
use crate::run::backtrace::{frames, is_recursion};
use crate::run::limit_text;
use crate::run::units::{grouped, size};
use crate::text::{clean, clean_text};
use pgtq_task::{ErrorKind, Failure, Limits, Outcome};

/// Bytes of a message from wasmtime or the guest.
const MESSAGE_BYTES: usize = 4 << 10;

/// The store's figures when its guest trapped.
pub(crate) struct TrapContext<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) limiter: &'a Limiter,
    pub(crate) account: &'a MemoryAccount,
    pub(crate) logs: &'a Logs,
}

/// Delay of a task for which this machine had no room.
const NO_ROOM_WAIT: Duration = Duration::from_secs(5);
/// Minimum time between log lines about that.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// The outcome of an attempt whose instantiation or call ended with this error. If the
/// machine had no room for the instance, no guest code ran and no attempt is counted: the
/// task is retried in five seconds.
pub(crate) fn outcome(error: &wasmtime::Error, context: &TrapContext<'_>) -> Outcome {
    let has_run = error
        .downcast_ref::<WasmBacktrace>()
        .is_some_and(|trace| !trace.frames().is_empty());
    if let Some(reason) = machine::lacks(error).filter(|_| !has_run) {
        warn(&reason);
        return Outcome::Snooze {
            after: NO_ROOM_WAIT,
        };
    }
    Outcome::Retry {
        failure: explain(error, context),
        after: None,
    }
}

/// Warns, but not for every one of many attempts.
fn warn(reason: &str) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_none_or(|last| last.elapsed() >= WARN_EVERY) {
        *last = Some(Instant::now());
        tracing::warn!(
            reason,
            "this machine has too little memory for an instance; its tasks are retried in 5 s, and no attempt is counted"
        );
    }
}

/// Explains an error that wasmtime returned from instantiation or a call.
pub(crate) fn explain(error: &wasmtime::Error, context: &TrapContext<'_>) -> Failure {
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let (kind, message) = kind_and_message(error, backtrace, context);
    Failure {
        backtrace: backtrace.map(frames).unwrap_or_default(),
        ..Failure::new(kind, message)
    }
}

fn kind_and_message(
    error: &wasmtime::Error,
    backtrace: Option<&WasmBacktrace>,
    context: &TrapContext<'_>,
) -> (ErrorKind, String) {
    let limits = context.limits;
    match error.downcast_ref() {
        Some(HostStop::Logs) => {
            return (
                ErrorKind::Logs,
                format!(
                    "logged more than ten times its limit of {} lines; log less, or raise `limits.log_lines`",
                    grouped(u64::from(limits.log_lines))
                ),
            );
        }
        Some(HostStop::HostMemory) => return limit_text::host_memory(limits),
        None => {}
    }
    if let Some(I32Exit(code)) = error.downcast_ref() {
        // WASI passes on whether it was a success, not the status.
        let how = if *code == 0 { "success" } else { "failure" };
        return (
            ErrorKind::Exit,
            format!("called exit, for {how}; return a value or an error instead"),
        );
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return trapped(*trap, backtrace, context);
    }
    if let Some(reason) = machine::lacks(error) {
        return no_room(&reason);
    }
    if context.limiter.memory_refused {
        return limit_text::memory(limits);
    }
    if context.limiter.table_refused {
        return limit_text::table(limits);
    }
    let text = clean(&format!("{:#}", error.root_cause()), MESSAGE_BYTES);
    if text.starts_with("too much data is being copied") {
        if context.account.call_room(limits.call_bytes) < limits.call_bytes {
            return limit_text::host_memory(limits);
        }
        // Without a guest frame it was the guest's return value.
        return match backtrace.is_some_and(|trace| !trace.frames().is_empty()) {
            true => (
                ErrorKind::CallSize,
                format!(
                    "passed more than {} to the host in one call; send less at a time, or raise `limits.call_bytes`",
                    size(limits.call_bytes)
                ),
            ),
            false => limit_text::result_size(None, limits),
        };
    }
    (
        ErrorKind::Contract,
        format!("the plugin broke the contract: {text}"),
    )
}

fn trapped(
    trap: Trap,
    backtrace: Option<&WasmBacktrace>,
    context: &TrapContext<'_>,
) -> (ErrorKind, String) {
    let limits = context.limits;
    match trap {
        Trap::OutOfFuel => (
            ErrorKind::Fuel,
            format!(
                "used up its fuel of {}; if the work is that large, raise `fuel` in #[handler(...)], up to the cap that `pgtq inspect` shows, or in pgtq.toml",
                grouped(limits.fuel)
            ),
        ),
        Trap::StackOverflow => (
            ErrorKind::Stack,
            "used more than 512 KiB of stack: endless or very deep recursion".to_owned(),
        ),
        // A compiled language keeps most of its stack at the start of its linear memory,
        // and an overflow leaves the memory.
        Trap::MemoryOutOfBounds if backtrace.is_some_and(is_recursion) => (
            ErrorKind::Stack,
            "used up the stack in its memory: endless or very deep recursion".to_owned(),
        ),
        Trap::UnreachableCodeReached => match context.logs.panic_message() {
            Some(message) => (ErrorKind::Panic, message.to_owned()),
            None if context.limiter.machine_refused.is_some() => no_room(
                context
                    .limiter
                    .machine_refused
                    .as_deref()
                    .unwrap_or_default(),
            ),
            None if context.limiter.memory_refused => limit_text::memory(limits),
            None if context.limiter.table_refused => limit_text::table(limits),
            None => (
                ErrorKind::Trap,
                "aborted: the guest executed `unreachable`".to_owned(),
            ),
        },
        trap => {
            let text = trap.to_string();
            let text = text.strip_prefix("wasm trap: ").unwrap_or(&text);
            (ErrorKind::Trap, format!("trapped: {text}"))
        }
    }
}

fn no_room(reason: &str) -> (ErrorKind, String) {
    (
        ErrorKind::Internal,
        format!("this machine could not provide what the attempt needs: {reason}"),
    )
}

/// The message for a fault of the runner itself.
pub(crate) fn internal(panic: &(dyn std::any::Any + Send)) -> Failure {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Failure::new(
        ErrorKind::Internal,
        format!(
            "the runner itself failed: {}",
            clean_text(said, MESSAGE_BYTES)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::ResourceLimiter as _;

    #[test]
    fn an_attempt_without_memory_is_retried_and_not_counted() {
        let no_memory = || {
            wasmtime::Error::from(std::io::Error::from_raw_os_error(libc::ENOMEM))
                .context("failed to create memory")
                .context("instantiate")
        };
        let limits = Limits::default();
        let account = MemoryAccount::new(limits.host_bytes);
        let logs = Logs::new(&limits, Instant::now(), &account);
        let refused_growth = |error: Option<wasmtime::Error>| {
            let mut limiter = Limiter::new(&limits, &account);
            if let Some(error) = error {
                limiter.memory_grow_failed(error).expect("growth continues");
            }
            limiter
        };
        let fresh = refused_growth(None);
        let by_the_pool = refused_growth(Some(wasmtime::Error::msg("the pool's maximum")));
        let by_the_machine = refused_growth(Some(no_memory()));
        let scene = |limiter| TrapContext {
            limits: &limits,
            limiter,
            account: &account,
            logs: &logs,
        };
        let ended = outcome(&no_memory(), &scene(&fresh));
        let after = NO_ROOM_WAIT;
        assert_eq!(ended, Outcome::Snooze { after });
        let failure = explain(&no_memory(), &scene(&fresh));
        assert_eq!(failure.kind, ErrorKind::Internal);
        assert!(failure.message.contains("Cannot allocate memory"));
        // A fault of the guest is still reported as its own.
        let ended = outcome(&wasmtime::Error::msg("no such export"), &scene(&fresh));
        let Outcome::Retry { failure, .. } = ended else {
            panic!("{ended:?}");
        };
        assert_eq!(failure.kind, ErrorKind::Contract);
        // A guest whose memory could not grow aborts by itself.
        let gave_up = Trap::UnreachableCodeReached.into();
        let kind = |limiter| explain(&gave_up, &scene(limiter)).kind;
        assert_eq!(kind(&by_the_machine), ErrorKind::Internal);
        assert_eq!(kind(&by_the_pool), ErrorKind::Memory);
    }
}
