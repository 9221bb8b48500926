//! WASI: the interfaces that standard libraries use. A guest inherits nothing: no
//! arguments, environment, stdin, directories or network.
//!
//! Files and TCP are wasmtime's own implementation with single functions replaced, so
//! that every way out is granted, counted and bounded: see [`files`](crate::capability::files) and [`tcp`](crate::capability::tcp). A
//! denied call is an error value for the guest.
//!
//! wasmtime finds a function under the name with the version that it was linked with. If
//! [`VERSION`] differed from wasmtime's, wasmtime's function would be called instead of
//! ours; tests of every denial guard against that.

pub(crate) mod handles;
pub(crate) mod meter;
mod random;
mod stdio;

use std::sync::Arc;

use wasmtime::component::Linker;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::p2::bindings::{cli, random as wasi_random};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{TrappableError, WasiCtx, WasiView};

use crate::attempt::state::{SharedLogs, State};
use crate::wasi::stdio::Stdio;
use pgtq_task::Limits;

/// The version of WASI that wasmtime 48 links.
pub(crate) const VERSION: &str = "0.2.12";
/// Random bytes per call.
const MAX_RANDOM: u64 = 64 << 10;

/// The WASI state of one store. Made when the guest first uses it: most never do, and it
/// costs two random generators. The state for files and TCP is made when the guest uses
/// those: an attempt that only reads the clock pays for neither.
pub(crate) struct Wasi {
    pub(crate) ctx: WasiCtx,
    files: Option<Box<crate::capability::files::Files>>,
    tcp: Option<Box<crate::capability::tcp::Tcp>>,
    checked: crate::capability::tcp::Checked,
    limits: Arc<Limits>,
    logs: SharedLogs,
}

impl Wasi {
    pub(crate) fn new(limits: &Arc<Limits>, logs: &SharedLogs) -> Self {
        let checked = crate::capability::tcp::Checked::default();
        let mut builder = WasiCtx::builder();
        builder
            .stdout(Stdio::stdout(logs))
            .stderr(Stdio::stderr(logs))
            .max_random_size(MAX_RANDOM)
            .allow_tcp(true)
            .socket_addr_check(crate::capability::tcp::gate(Arc::clone(&checked)))
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .allow_blocking_current_thread(false);
        Wasi {
            ctx: builder.build(),
            files: None,
            tcp: None,
            checked,
            limits: Arc::clone(limits),
            logs: SharedLogs::clone(logs),
        }
    }

    pub(crate) fn files(&mut self) -> &mut crate::capability::files::Files {
        let make = || {
            Box::new(crate::capability::files::Files::new(
                &self.limits,
                &self.logs,
            ))
        };
        self.files.get_or_insert_with(make)
    }

    pub(crate) fn tcp(&mut self) -> &mut crate::capability::tcp::Tcp {
        let make = || {
            Box::new(crate::capability::tcp::Tcp::new(
                &self.limits,
                &self.logs,
                &self.checked,
            ))
        };
        self.tcp.get_or_insert_with(make)
    }
}

/// Links all of it.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    // io, clocks, random and the three streams.
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(linker)?;
    wasi_random::insecure::add_to_linker::<_, WasiRandom>(linker, |s| s.ctx().ctx.random())?;
    wasi_random::insecure_seed::add_to_linker::<_, WasiRandom>(linker, |s| s.ctx().ctx.random())?;
    cli::exit::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::environment::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    linker.allow_shadowing(true);
    crate::capability::files::link(linker)?;
    crate::capability::tcp::link(linker)?;
    random::link(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// An answer as the guest sees it: an error is a value, a trap is a trap.
pub(crate) fn answered<T, E>(answer: Result<T, TrappableError<E>>) -> wasmtime::Result<Result<T, E>>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match answer {
        Ok(value) => Ok(Ok(value)),
        Err(error) => Ok(Err(error.downcast()?)),
    }
}

/// Replaces a function of wasmtime by one of ours. It gets the state and returns a
/// `Result` whose error is trappable.
macro_rules! replace {
    ($instance:ident, $name:literal, |$state:ident, ($($arg:ident: $type:ty),*)| $answer:expr) => {
        $instance.func_wrap_async(
            $name,
            |mut store: crate::run::linker::Caller<'_>, ($($arg,)*): ($($type,)*)| {
                Box::new(async move {
                    crate::run::linker::charge(&mut store, 0).await?;
                    let $state = store.data_mut();
                    Ok((crate::wasi::answered($answer.await)?,))
                })
            },
        )?;
    };
}
pub(crate) use replace;
