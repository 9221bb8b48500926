//! The host's side of the contract: every import that a plugin is given.
//!
//! Each call of an interface of our own is charged in fuel, by call and by
//! byte, so that a loop of host calls ends like any other loop. WASI calls are
//! not charged; what they can do is bounded otherwise (handles, log lines,
//! bytes per call) and the loop around them burns fuel of its own.

use std::time::{Duration, SystemTime};

use wasmtime::component::{Linker, LinkerInstance};
use wasmtime::{Engine, StoreContextMut, Trap};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::{cli, filesystem, random};
use wasmtime_wasi::random::WasiRandom;

use super::bindings::Level;
use super::logs::clean;
use super::push;
use super::state::{State, lock};
use crate::task::{Attempt, LogLevel, Progress};

/// Fuel for entering the host; measured, a call costs 100 to 200 ns, which is
/// 100 to 500 instructions.
const CALL_FUEL: u64 = 1_000;
/// The most bytes of a progress message that are kept.
const PROGRESS_BYTES: usize = 200;

type Caller<'a> = StoreContextMut<'a, State>;

/// Takes the fuel for one host call that carries `bytes`, or ends the attempt.
fn charge(store: &mut Caller<'_>, bytes: usize) -> wasmtime::Result<()> {
    let left = store.get_fuel()?;
    match left.checked_sub(CALL_FUEL + bytes as u64) {
        Some(left) => store.set_fuel(left),
        None => {
            store.set_fuel(0)?;
            Err(Trap::OutOfFuel.into())
        }
    }
}

/// Everything that a plugin may import.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    link_wasi(&mut linker)?;
    link_context(&mut linker.instance("pgtq:plugin/context@1.0.0")?)?;
    link_log(&mut linker.instance("pgtq:plugin/log@1.0.0")?)?;
    link_progress(&mut linker.instance("pgtq:plugin/progress@1.0.0")?)?;
    link_push(&mut linker.instance("pgtq:plugin/push@1.0.0")?)?;
    Ok(linker)
}

/// What a language's standard library asks for even when it uses nothing of
/// it. No sockets, no http; the filesystem has no directory in it.
fn link_wasi(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    // io, clocks, random and the three streams.
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(linker)?;
    random::insecure::add_to_linker::<_, WasiRandom>(linker, |s| s.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<_, WasiRandom>(linker, |s| s.ctx().ctx.random())?;
    cli::exit::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::environment::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    filesystem::types::add_to_linker::<_, WasiFilesystem>(linker, State::filesystem)?;
    filesystem::preopens::add_to_linker::<_, WasiFilesystem>(linker, State::filesystem)
}

/// Adds one function of `context`: a fact about the task, or a default while
/// the plugin describes itself.
macro_rules! fact {
    ($linker:ident, $name:literal, $type:ty, |$attempt:ident| $value:expr) => {
        $linker.func_wrap($name, |mut store: Caller<'_>, (): ()| {
            charge(&mut store, 0)?;
            let fact = |$attempt: &Attempt| -> $type { $value };
            Ok((store.data().attempt.as_ref().map(fact).unwrap_or_default(),))
        })?;
    };
}

fn link_context(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    fact!(linker, "task-id", u64, |a| a.task.id.0.unsigned_abs());
    fact!(linker, "attempt", u32, |a| a.number());
    fact!(linker, "queue", String, |a| a.task.queue.to_string());
    fact!(linker, "idempotency-key", String, |a| a.idempotency_key());
    fact!(linker, "pushed-at-ms", u64, |a| millis(a.task.pushed_at));
    fact!(linker, "due-at-ms", u64, |a| millis(a.task.due_at));
    linker.func_wrap("max-attempts", |mut store: Caller<'_>, (): ()| {
        charge(&mut store, 0)?;
        Ok((store.data().max_attempts,))
    })?;
    linker.func_wrap("remaining-ms", |mut store: Caller<'_>, (): ()| {
        charge(&mut store, 0)?;
        let state = store.data();
        let left = state.limits.timeout.saturating_sub(state.started.elapsed());
        Ok((whole_millis(left),))
    })
}

fn millis(at: jiff::Timestamp) -> u64 {
    SystemTime::from(at)
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, whole_millis)
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn link_log(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "write",
        |mut store: Caller<'_>, (level, message, fields): (Level, String, String)| {
            charge(&mut store, message.len() + fields.len())?;
            let level = match level {
                Level::Debug => LogLevel::Debug,
                Level::Info => LogLevel::Info,
                Level::Warn => LogLevel::Warn,
                Level::Error => LogLevel::Error,
            };
            lock(&store.data().logs).write(level, &message, &fields)?;
            Ok(())
        },
    )?;
    linker.func_wrap(
        "panicked",
        |mut store: Caller<'_>, (message,): (String,)| {
            charge(&mut store, message.len())?;
            lock(&store.data().logs).panicked(&message);
            Ok(())
        },
    )
}

fn link_progress(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "report",
        |mut store: Caller<'_>, (fraction, message): (f64, String)| {
            charge(&mut store, message.len())?;
            if let Some(attempt) = &store.data().attempt {
                let fraction = if fraction.is_nan() { 0.0 } else { fraction };
                attempt.signal.report(Progress {
                    fraction: fraction.clamp(0.0, 1.0),
                    message: clean(&message, PROGRESS_BYTES),
                });
            }
            Ok(())
        },
    )
}

fn link_push(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "push",
        |mut store: Caller<'_>, (handler, args, options): (String, String, String)| {
            charge(&mut store, handler.len() + args.len() + options.len())?;
            Ok((push::push(store.data_mut(), &handler, args, &options),))
        },
    )
}
