//! The imports that the direct path supports: those without effects outside of the
//! attempt before its end. They do what [`capability`](crate::capability) and WASI do, and are
//! charged the same.

use wasmtime::{AsContextMut, Caller, ExternType, Linker, Module};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::random::insecure_seed::Host as _;

use crate::attempt::host_call::charge;
use crate::attempt::state::StoreData;
use crate::bindings::Level;
use crate::capability::context::facts;
use crate::capability::push::children::push;
use crate::direct::fallback::Fallback;
use crate::direct::memory::{Guest, length};

/// Interfaces that every program with a standard library imports and hardly any uses.
const BALLAST: [&str; 2] = ["wasi:cli/", "wasi:io/"];

/// Defines all imports of `module`. An error if it has an import that would usually need
/// a fallback.
pub(super) fn link(linker: &mut Linker<StoreData>, module: &Module) -> wasmtime::Result<()> {
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        let interface = from
            .split_once('@')
            .map_or(from, |(interface, _)| interface);
        match interface {
            "pgtq:plugin/log" => log(linker, from, name)?,
            "pgtq:plugin/context" => context(linker, from, name)?,
            "pgtq:plugin/progress" => progress(linker, from, name)?,
            "pgtq:plugin/push" => child(linker, from, name)?,
            "wasi:random/insecure-seed" => seed(linker, from, name)?,
            _ if BALLAST.iter().any(|b| interface.starts_with(b)) => {
                let ExternType::Func(kind) = import.ty() else {
                    return Err(Fallback("an import that is not a function").into());
                };
                linker.func_new(from, name, kind, |_, _, _| {
                    Err(Fallback("WASI that is seldom used").into())
                })?;
            }
            _ => return Err(Fallback("an import with effects, or an unknown one").into()),
        }
    }
    Ok(())
}

/// Charges the call, unless the guest may not call the host now.
async fn enter(caller: &mut Caller<'_, StoreData>, bytes: usize) -> wasmtime::Result<()> {
    if caller.data().must_not_call {
        return Err(Fallback("a call at the wrong time").into());
    }
    charge(&mut caller.as_context_mut(), bytes).await
}

fn unknown() -> wasmtime::Error {
    Fallback("an unknown function").into()
}

/// Adds one function that is charged per call and returns a number.
macro_rules! number {
    ($linker:ident, $from:ident, $name:ident, |$state:ident| $value:expr) => {
        $linker.func_wrap_async($from, $name, |mut caller: Caller<'_, StoreData>, (): ()| {
            Box::new(async move {
                enter(&mut caller, 0).await?;
                let $state = caller.data();
                wasmtime::Result::Ok($value)
            })
        })?
    };
}

/// Adds one function that writes a string's address and length where the guest wants.
macro_rules! text {
    ($linker:ident, $from:ident, $name:ident, |$state:ident| $value:expr) => {
        $linker.func_wrap_async(
            $from,
            $name,
            |mut caller: Caller<'_, StoreData>, (at,): (u32,)| {
                Box::new(async move {
                    enter(&mut caller, 0).await?;
                    let $state = caller.data();
                    let text: String = $value;
                    put_text(&mut caller, at, &text).await
                })
            },
        )?
    };
}

async fn put_text(caller: &mut Caller<'_, StoreData>, at: u32, text: &str) -> wasmtime::Result<()> {
    let guest = Guest::of(caller)?;
    aligned(at, 4)?;
    let place = guest.write(&mut *caller, text).await?;
    guest.put(&mut *caller, at, &pair(place, length(text)))
}

fn pair(low: u32, high: u32) -> [u8; 8] {
    (u64::from(low) | u64::from(high) << 32).to_le_bytes()
}

fn aligned(at: u32, to: u32) -> Result<(), Fallback> {
    match at.is_multiple_of(to) {
        true => Ok(()),
        false => Err(Fallback("an answer at an unaligned address")),
    }
}

fn log(linker: &mut Linker<StoreData>, from: &str, name: &str) -> wasmtime::Result<()> {
    type Write = (u32, u32, u32, u32, u32);
    match name {
        "write" => linker.func_wrap_async(
            from,
            name,
            |mut caller: Caller<'_, StoreData>, (level, message, m_len, fields, f_len): Write| {
                Box::new(async move {
                    let level = match level {
                        0 => Level::Debug,
                        1 => Level::Info,
                        2 => Level::Warn,
                        3 => Level::Error,
                        _ => return Err(Fallback("no such level").into()),
                    };
                    let guest = Guest::of(&mut caller)?;
                    let texts = guest.texts(&caller, [(message, m_len), (fields, f_len)])?;
                    let [message, fields] = texts;
                    enter(&mut caller, message.len() + fields.len()).await?;
                    facts::log(caller.data(), level, &message, &fields)
                })
            },
        )?,
        "panicked" => linker.func_wrap_async(
            from,
            name,
            |mut caller: Caller<'_, StoreData>, (message, length): (u32, u32)| {
                Box::new(async move {
                    let guest = Guest::of(&mut caller)?;
                    let [message] = guest.texts(&caller, [(message, length)])?;
                    enter(&mut caller, message.len()).await?;
                    facts::panicked(caller.data(), &message);
                    wasmtime::Result::Ok(())
                })
            },
        )?,
        _ => return Err(unknown()),
    };
    Ok(())
}

fn context(linker: &mut Linker<StoreData>, from: &str, name: &str) -> wasmtime::Result<()> {
    match name {
        "task-id" => number!(linker, from, name, |state| facts::task_id(state)),
        "attempt" => number!(linker, from, name, |state| facts::attempt(state)),
        "pushed-at-ms" => number!(linker, from, name, |state| facts::pushed_at_ms(state)),
        "due-at-ms" => number!(linker, from, name, |state| facts::due_at_ms(state)),
        "remaining-ms" => number!(linker, from, name, |state| facts::remaining_ms(state)),
        "is-cancelled" => number!(linker, from, name, |state| u32::from(facts::is_cancelled(
            state
        ))),
        "queue" => text!(linker, from, name, |state| facts::queue(state)),
        "idempotency-key" => text!(linker, from, name, |state| facts::idempotency_key(state)),
        "max-attempts" => linker.func_wrap_async(
            from,
            name,
            |mut caller: Caller<'_, StoreData>, (at,): (u32,)| {
                Box::new(async move {
                    enter(&mut caller, 0).await?;
                    let max = caller.data().max_attempts;
                    aligned(at, 4)?;
                    let answer = pair(u32::from(max.is_some()), max.unwrap_or_default());
                    Guest::of(&mut caller)?.put(&mut caller, at, &answer)
                })
            },
        )?,
        _ => return Err(unknown()),
    };
    Ok(())
}

fn progress(linker: &mut Linker<StoreData>, from: &str, name: &str) -> wasmtime::Result<()> {
    if name != "report" {
        return Err(unknown());
    }
    linker.func_wrap_async(
        from,
        name,
        |mut caller: Caller<'_, StoreData>, (fraction, message, length): (f64, u32, u32)| {
            Box::new(async move {
                let guest = Guest::of(&mut caller)?;
                let [message] = guest.texts(&caller, [(message, length)])?;
                enter(&mut caller, message.len()).await?;
                facts::progress(caller.data(), fraction, &message);
                wasmtime::Result::Ok(())
            })
        },
    )?;
    Ok(())
}

fn child(linker: &mut Linker<StoreData>, from: &str, name: &str) -> wasmtime::Result<()> {
    type Push = (u32, u32, u32, u32, u32, u32, u32);
    if name != "push" {
        return Err(unknown());
    }
    linker.func_wrap_async(
        from,
        name,
        |mut caller: Caller<'_, StoreData>,
         (handler, h_len, args, a_len, options, o_len, at): Push| {
            Box::new(async move {
                aligned(at, 4)?;
                let guest = Guest::of(&mut caller)?;
                let places = [(handler, h_len), (args, a_len), (options, o_len)];
                let [handler, args, options] = guest.texts(&caller, places)?;
                let bytes = handler.len() + args.len() + options.len();
                enter(&mut caller, bytes).await?;
                match push(caller.data_mut(), &handler, args, &options) {
                    Ok(()) => guest.put(&mut caller, at, &[0]),
                    Err(error) => {
                        let outside = Fallback("an answer outside of memory");
                        let text_at = at.checked_add(4).ok_or(outside)?;
                        put_text(&mut caller, text_at, &error).await?;
                        guest.put(&mut caller, at, &[1])
                    }
                }
            })
        },
    )?;
    Ok(())
}

fn seed(linker: &mut Linker<StoreData>, from: &str, name: &str) -> wasmtime::Result<()> {
    if name != "insecure-seed" {
        return Err(unknown());
    }
    linker.func_wrap(from, name, |mut caller: Caller<'_, StoreData>, at: u32| {
        aligned(at, 8)?;
        let (low, high) = caller.data_mut().ctx().ctx.random().insecure_seed()?;
        let guest = Guest::of(&mut caller)?;
        let seed = u128::from(low) | u128::from(high) << 64;
        guest.put(&mut caller, at, &seed.to_le_bytes())
    })?;
    Ok(())
}
