//! WASI: the interfaces that standard libraries use. A guest inherits nothing: no
//! arguments, environment, stdin, directories or network.
//!
//! Files and TCP are wasmtime's own implementation with single functions replaced, so
//! that every way out is granted, counted and bounded: see the capabilities `files` and
//! `tcp`. A denied call is an error value for the guest.

pub(crate) mod context;
pub(crate) mod handles;
pub(crate) mod meter;
mod random;
pub(crate) mod replace;
mod stdio;

use wasmtime::component::Linker;
use wasmtime_wasi::WasiView;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::p2::bindings::{cli, random as wasi_random};
use wasmtime_wasi::random::WasiRandom;

use crate::attempt::state::StoreData;

/// The interfaces that are linked here; those of files, TCP and HTTP are capabilities.
const INTERFACES: [&str; 18] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// Whether this interface is linked here.
pub(crate) fn links(interface: &str) -> bool {
    INTERFACES.contains(&interface)
}

/// Links all of it.
pub(crate) fn link(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    // io, clocks, random and the three streams.
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(linker)?;
    wasi_random::insecure::add_to_linker::<_, WasiRandom>(linker, |s| s.ctx().ctx.random())?;
    wasi_random::insecure_seed::add_to_linker::<_, WasiRandom>(linker, |s| s.ctx().ctx.random())?;
    cli::exit::add_to_linker::<_, WasiCli>(linker, StoreData::cli)?;
    cli::environment::add_to_linker::<_, WasiCli>(linker, StoreData::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(linker, StoreData::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(linker, StoreData::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(linker, StoreData::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(linker, StoreData::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(linker, StoreData::cli)?;
    linker.allow_shadowing(true);
    random::link(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}
