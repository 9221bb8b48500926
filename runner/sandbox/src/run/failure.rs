//! Explains a trap: what happened, which limit was reached, how to raise it.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::error::OutOfMemory;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::attempt::account::Account;
use crate::attempt::limiter::Limiter;
use crate::attempt::logs::{Logs, clean, clean_text};
use crate::attempt::stop::HostStop;
use pgtq_task::{ErrorKind, Failure, Limits, Outcome};

/// Frames shown.
const MAX_FRAMES: usize = 20;
/// Bytes of one frame's name; mangled names can expand without bound.
const FRAME_BYTES: usize = 200;
/// Bytes of a message from wasmtime or the guest.
const MESSAGE_BYTES: usize = 4 << 10;

/// The store's figures when its guest trapped.
pub(crate) struct Scene<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) limiter: &'a Limiter,
    pub(crate) account: &'a Account,
    pub(crate) logs: &'a Logs,
}

/// Delay of a task for which this machine had no room.
const NO_ROOM_WAIT: Duration = Duration::from_secs(5);
/// Minimum time between log lines about that.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// The outcome of an attempt whose instantiation or call ended with this error. If the
/// machine had no room for the instance, no guest code ran and no attempt is counted: the
/// task is retried in five seconds.
pub(crate) fn outcome(error: &wasmtime::Error, scene: &Scene<'_>) -> Outcome {
    let has_run = error
        .downcast_ref::<WasmBacktrace>()
        .is_some_and(|trace| !trace.frames().is_empty());
    if let Some(reason) = machine(error).filter(|_| !has_run) {
        warn(&reason);
        return Outcome::Snooze {
            after: NO_ROOM_WAIT,
        };
    }
    Outcome::Retry {
        failure: explain(error, scene),
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
            "this machine has no room for an instance; its tasks are retried in 5 s, and no attempt is counted"
        );
    }
}

/// What this machine lacks, if that is the cause: the guest is not at fault.
pub(crate) fn machine(error: &wasmtime::Error) -> Option<String> {
    let cause = error.root_cause().to_string();
    // Of the types that carry an error number, one is private to wasmtime.
    let is_the_systems = cause.ends_with(')') && cause.contains("(os error ");
    let is_room = error.is::<PoolConcurrencyLimitError>() || error.is::<OutOfMemory>();
    (is_the_systems || is_room).then(|| clean(&cause, MESSAGE_BYTES))
}

/// Explains an error that wasmtime returned from instantiation or a call.
pub(crate) fn explain(error: &wasmtime::Error, scene: &Scene<'_>) -> Failure {
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let (kind, message) = kind_and_message(error, backtrace, scene);
    Failure {
        backtrace: backtrace.map(frames).unwrap_or_default(),
        ..Failure::new(kind, message)
    }
}

fn kind_and_message(
    error: &wasmtime::Error,
    backtrace: Option<&WasmBacktrace>,
    scene: &Scene<'_>,
) -> (ErrorKind, String) {
    let limits = scene.limits;
    match error.downcast_ref() {
        Some(HostStop::Logs) => {
            return (
                ErrorKind::Logs,
                format!(
                    "logged more than ten times its limit of {} lines; log less, or raise `log_lines`",
                    grouped(u64::from(limits.log_lines))
                ),
            );
        }
        Some(HostStop::HostMemory) => return host_memory(limits),
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
        return trapped(*trap, backtrace, scene);
    }
    if let Some(reason) = machine(error) {
        return no_room(&reason);
    }
    if scene.limiter.memory_refused {
        return memory(limits);
    }
    if scene.limiter.table_refused {
        return table(limits);
    }
    let text = clean(&format!("{:#}", error.root_cause()), MESSAGE_BYTES);
    if text.starts_with("too much data is being copied") {
        if scene.account.call_room(limits.call_bytes) < limits.call_bytes {
            return host_memory(limits);
        }
        // Without a guest frame it was the guest's return value.
        return match backtrace.is_some_and(|trace| !trace.frames().is_empty()) {
            true => (
                ErrorKind::CallSize,
                format!(
                    "passed more than {} to the host in one call; send less at a time, or raise `call_bytes`",
                    size(limits.call_bytes)
                ),
            ),
            false => result_size(None, limits),
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
    scene: &Scene<'_>,
) -> (ErrorKind, String) {
    let limits = scene.limits;
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
        Trap::UnreachableCodeReached => match scene.logs.panic_message() {
            Some(message) => (ErrorKind::Panic, message.to_owned()),
            None if scene.limiter.machine_refused.is_some() => {
                no_room(scene.limiter.machine_refused.as_deref().unwrap_or_default())
            }
            None if scene.limiter.memory_refused => memory(limits),
            None if scene.limiter.table_refused => table(limits),
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

fn memory(limits: &Limits) -> (ErrorKind, String) {
    (
        ErrorKind::Memory,
        format!(
            "exceeded its {} of memory; work on less at a time, or raise `memory` in #[handler(...)], up to the cap that `pgtq inspect` shows, or in pgtq.toml",
            size(limits.memory)
        ),
    )
}

fn host_memory(limits: &Limits) -> (ErrorKind, String) {
    (
        ErrorKind::Memory,
        format!(
            "the host would need more than {} for this attempt (child tasks, headers, buffers, log lines); keep less open at a time, or raise `host_bytes`",
            size(limits.host_bytes)
        ),
    )
}

fn table(limits: &Limits) -> (ErrorKind, String) {
    (
        ErrorKind::Table,
        format!(
            "needed more than {} table elements; raise `table_elements` in the configuration",
            grouped(limits.table_elements)
        ),
    )
}

/// The attempt exceeded its wall-clock limit.
pub(crate) fn timeout(limits: &Limits) -> Failure {
    Failure::new(
        ErrorKind::Timeout,
        format!(
            "ran longer than its {:?}; if the work takes that long, raise `timeout` in #[handler(...)], up to the cap that `pgtq inspect` shows, or in pgtq.toml",
            limits.timeout
        ),
    )
}

/// The result is too large; `bytes` if its size is known.
pub(crate) fn result_size(bytes: Option<usize>, limits: &Limits) -> (ErrorKind, String) {
    let what = match bytes {
        Some(bytes) => format!("returned {} bytes", grouped(bytes as u64)),
        None => format!("returned more than {}", size(limits.call_bytes)),
    };
    (
        ErrorKind::ResultSize,
        format!(
            "{what}, the limit is {}; store large results elsewhere and return a reference",
            size(limits.result_bytes)
        ),
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

/// Up to the maximum number of frames, from at most half as many functions.
fn is_recursion(trace: &WasmBacktrace) -> bool {
    let functions: BTreeSet<u32> = trace
        .frames()
        .iter()
        .map(wasmtime::FrameInfo::func_index)
        .collect();
    trace.frames().len() >= MAX_FRAMES && functions.len() <= MAX_FRAMES / 2
}

fn frames(trace: &WasmBacktrace) -> Vec<String> {
    trace
        .frames()
        .iter()
        .take(MAX_FRAMES)
        .map(|frame| match frame.func_name() {
            Some(name) => demangle(name),
            None => format!("function {}", frame.func_index()),
        })
        .collect()
}

fn demangle(name: &str) -> String {
    if name.len() > 4 * FRAME_BYTES {
        return clean(name, FRAME_BYTES);
    }
    let mut text = Capped(String::new());
    // An error only means that the cap was reached.
    let _ = write!(text, "{:#}", rustc_demangle::demangle(name));
    clean(&text.0, FRAME_BYTES)
}

/// Accepts slightly more than a frame's bytes, then fails.
struct Capped(String);

impl fmt::Write for Capped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0
            .push_str(&text[..text.floor_char_boundary(2 * FRAME_BYTES)]);
        match self.0.len() > 2 * FRAME_BYTES {
            true => Err(fmt::Error),
            false => Ok(()),
        }
    }
}

/// Bytes in the largest unit that is exact.
fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 && b % (1 << 30) == 0 => format!("{} GiB", b >> 30),
        b if b >= 1 << 20 && b % (1 << 20) == 0 => format!("{} MiB", b >> 20),
        b if b >= 1 << 10 && b % (1 << 10) == 0 => format!("{} KiB", b >> 10),
        b => format!("{} bytes", grouped(b)),
    }
}

/// 10000000 as `10,000,000`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::ResourceLimiter as _;

    #[test]
    fn sizes_and_counts_are_readable() {
        assert_eq!(size(64 << 20), "64 MiB");
        assert_eq!(size(1 << 10), "1 KiB");
        assert_eq!(size(1_500), "1,500 bytes");
        assert_eq!(grouped(10_000_000_000), "10,000,000,000");
        assert_eq!(grouped(7), "7");
    }

    #[test]
    fn an_attempt_without_memory_is_retried_and_not_counted() {
        let no_memory = || {
            wasmtime::Error::from(std::io::Error::from_raw_os_error(libc::ENOMEM))
                .context("failed to create memory")
                .context("instantiate")
        };
        let limits = Limits::default();
        let account = Account::new(limits.host_bytes);
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
        let scene = |limiter| Scene {
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

    #[test]
    fn frames_are_demangled_and_bounded() {
        assert_eq!(
            demangle("_ZN4core9panicking5panic17h0123456789abcdefE"),
            "core::panicking::panic"
        );
        assert_eq!(demangle("plain"), "plain");
        assert!(demangle(&"x".repeat(1 << 20)).len() <= FRAME_BYTES + 4);
    }
}
