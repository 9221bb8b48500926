//! The compiling child: the body of the hidden `pgtq compile-plugin`.
//!
//! Cranelift takes unbounded time and memory on some inputs and cannot be
//! interrupted, so it runs where it can be killed. Limits first, then input:
//! ```text
//! stdin:  one line of JSON ([`Request`]), then WebAssembly to the end
//! stdout: OK and a line feed, then compiled code; or ERR, space, kind, line feed, text
//! ```

use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;

use wasi_preview1_component_adapter_provider as adapter;
use wit_component::ComponentEncoder;

use super::inspect::{self, FileForm};
use super::{LoadError, engine};

pub(super) const OK: &[u8] = b"OK\n";
pub(super) const ERR: &[u8] = b"ERR ";
/// What the compiler's libraries open to count processors, and some.
const OPEN_FILES: u64 = 64;

/// The limits a parent sets for its child.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Request {
    /// Bytes of address space.
    pub(super) memory: u64,
    /// Seconds of processor time, all threads together.
    pub(super) cpu_seconds: u64,
    /// Most bytes of WebAssembly that follow.
    pub(super) max_file_bytes: u64,
}

/// Reads WebAssembly on stdin, writes compiled code or an error on stdout.
/// Sets its own resource limits first; needs no environment.
pub fn compile_child() -> ExitCode {
    match serve(&mut io::stdin().lock(), &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(input: &mut impl BufRead, output: &mut impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    input.take(1 << 10).read_until(b'\n', &mut line)?;
    let request: Request = serde_json::from_slice(&line)?;
    limit(&request)?;
    let mut wasm = Vec::new();
    input.take(request.max_file_bytes).read_to_end(&mut wasm)?;
    match compile_bytes(&wasm) {
        Ok(code) => {
            output.write_all(OK)?;
            output.write_all(&code)?;
        }
        Err(error) => output.write_all(&encode(&error))?,
    }
    output.flush()
}

/// Compiles here and now. Used by the child, and by tests without a child.
pub(super) fn compile_bytes(wasm: &[u8]) -> Result<Vec<u8>, LoadError> {
    let inspection = inspect::inspect(wasm)?;
    let wrapped;
    let component = match inspection.form {
        FileForm::Component => wasm,
        FileForm::CoreModule => {
            wrapped = componentize(wasm)?;
            // What it imports is known only now.
            inspect::inspect(&wrapped)?;
            &wrapped
        }
    };
    let failed = |error: wasmtime::Error| LoadError::Compile(format!("{error:#}"));
    let engine = engine::compiling().map_err(failed)?;
    engine.precompile_component(component).map_err(failed)
}

/// Wraps a core module by the metadata that the SDK left in it.
fn componentize(module: &[u8]) -> Result<Vec<u8>, LoadError> {
    let wrap = || {
        ComponentEncoder::default()
            .validate(false)
            .module(module)?
            .adapter(
                adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                adapter::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
            )?
            .encode()
    };
    wrap().map_err(|error: anyhow::Error| LoadError::Componentize(format!("{error:#}")))
}

/// An error as it goes through the pipe: what the parent could not have found
/// out by itself.
fn encode(error: &LoadError) -> Vec<u8> {
    let (kind, text) = match error {
        LoadError::Componentize(text) => ("componentize", text.clone()),
        LoadError::Compile(text) => ("compile", text.clone()),
        LoadError::UnknownImports(names) => ("imports", names.join("\n")),
        other => ("componentize", other.to_string()),
    };
    let mut bytes = ERR.to_vec();
    bytes.extend_from_slice(kind.as_bytes());
    bytes.push(b'\n');
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// The other end of [`encode`].
pub(super) fn decode(bytes: &[u8]) -> LoadError {
    let text = String::from_utf8_lossy(bytes);
    match text.split_once('\n') {
        Some(("componentize", text)) => LoadError::Componentize(text.to_owned()),
        Some(("imports", names)) => {
            LoadError::UnknownImports(names.lines().map(str::to_owned).collect())
        }
        Some((_, text)) => LoadError::Compile(text.to_owned()),
        None => LoadError::Compile("the compiler said nothing".to_owned()),
    }
}

fn limit(request: &Request) -> io::Result<()> {
    set(libc::RLIMIT_AS, request.memory, request.memory)?;
    // Soft before hard: the soft one ends in a signal of its own.
    let seconds = request.cpu_seconds;
    set(libc::RLIMIT_CPU, seconds, seconds.saturating_add(1))?;
    set(libc::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES)?;
    set(libc::RLIMIT_CORE, 0, 0)?;
    set(libc::RLIMIT_FSIZE, 0, 0)
}

fn set(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: `limit` is a valid rlimit that outlives the call, which only reads it.
    match unsafe { libc::setrlimit(resource, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
