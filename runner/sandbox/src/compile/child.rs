//! The compiling child: the body of the hidden `pgtq compile-plugin`.
//!
//! Cranelift takes unbounded time and memory on some inputs and cannot be interrupted, so
//! it runs in a process that can be killed. So does the validator, which takes gigabytes
//! for some files. Limits are set before any input is read:
//! ```text
//! stdin:  one line of JSON ([`ChildRequest`]), then WebAssembly to the end
//! stdout: the greeting, which names the engine; then
//!         OK and a line feed, then compiled code; or ERR, space, kind, line feed, text
//! ```
//! Only a complete answer after the right greeting, with exit status 0, is a verdict
//! about the file.

use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;

use wasi_preview1_component_adapter_provider as adapter;
use wit_component::ComponentEncoder;

use crate::compile::cache;
use crate::compile::confine;
use crate::compile::file_form::FileForm;
use crate::compile::inspect;
use crate::compile::walk;
use crate::compile::weight;
use crate::direct::expose::expose;
use crate::engine;
use crate::error::LoadError;
use crate::text::{clean, clean_text};
use pgtq_task::Digest;

pub(crate) const OK: &[u8] = b"OK\n";
pub(crate) const ERR: &[u8] = b"ERR ";
/// The start of every greeting, whatever the version of the program.
pub(crate) const GREETING: &str = "pgtq-compiler ";
/// Bytes of an error that are read.
const MAX_ERROR_BYTES: usize = 4 << 10;
/// Enough descriptors for what the compiler's libraries open to count processors, and
/// some more.
const OPEN_FILES: u64 = 64;
/// Stack size of the waiting thread.
const WATCH_STACK: usize = 64 << 10;

/// The limits that a parent sets for its child.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct ChildRequest {
    /// Bytes of address space, and of writable memory.
    pub(crate) memory: u64,
    /// Seconds of processor time, over all threads.
    pub(crate) cpu_seconds: u64,
    /// Maximum bytes of WebAssembly that follow.
    pub(crate) max_file_bytes: u64,
    /// The requested work.
    pub(crate) work: ChildWork,
}

/// The work that a child does with the file.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ChildWork {
    /// Validate the file; the returned code is empty.
    Validate,
    /// Validate and compile it.
    Compile,
}

/// The line that a compiler sends first if it has the same engine as this program.
pub(crate) fn greeting() -> Result<String, LoadError> {
    let engine = engine::compiling().map_err(|error| LoadError::Internal(format!("{error:#}")))?;
    let engine = Digest(cache::compatibility(&engine));
    Ok(format!("{GREETING}{engine}\n"))
}

/// Reads WebAssembly on stdin, writes compiled code or an error on stdout. First sets its
/// own resource limits and drops its privileges; needs no environment.
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
    let request: ChildRequest = serde_json::from_slice(&line)?;
    // Before the limits: independent of the file.
    let greeting = greeting().map_err(io::Error::other)?;
    confine::confine()?;
    // Also before the limits: a thread that cannot be started is the machine's fault, and
    // from here on every lack of memory is the file's fault.
    start_threads()?;
    end_with_the_reader();
    limit(&request)?;
    output.write_all(greeting.as_bytes())?;
    output.flush()?;
    let mut wasm = Vec::new();
    input.take(request.max_file_bytes).read_to_end(&mut wasm)?;
    match do_work(request.work, &wasm) {
        Ok(code) => {
            output.write_all(OK)?;
            output.write_all(&code)?;
        }
        Err(error) => output.write_all(&encode(&error))?,
    }
    output.flush()
}

/// Starts the compiler's threads. It would otherwise start them on first use, and panic
/// if one cannot be started.
fn start_threads() -> io::Result<()> {
    rayon::ThreadPoolBuilder::new()
        .build_global()
        .map_err(|error| {
            let help =
                "raise the limit of processes (`ulimit -u`, or the container's limit of PIDs)";
            io::Error::other(format!("cannot start threads to compile: {error}; {help}"))
        })
}

/// Ends this process when its parent no longer reads the answer: a parent that was killed
/// cannot stop it. Returns when the waiting thread runs.
fn end_with_the_reader() {
    let (running, runs) = std::sync::mpsc::channel();
    let watch = move || {
        let _ = running.send(());
        let mut pipe = libc::pollfd {
            fd: libc::STDOUT_FILENO,
            // A pipe reports errors whichever events are requested.
            events: 0,
            revents: 0,
        };
        loop {
            // SAFETY: `pipe` is one valid record.
            let ready = unsafe { libc::poll(&raw mut pipe, 1, -1) };
            if ready > 0 {
                std::process::exit(1);
            }
        }
    };
    // Without the thread, the limit of processor time ends the process.
    let started = std::thread::Builder::new()
        .stack_size(WATCH_STACK)
        .spawn(watch);
    if started.is_ok() {
        let _ = runs.recv();
    }
}

/// Compiles in this process, without limits. Used by the child, which has set its own,
/// and by tests without a child.
pub(crate) fn do_work(work: ChildWork, wasm: &[u8]) -> Result<Vec<u8>, LoadError> {
    match work {
        ChildWork::Validate => walk::validate(wasm).map(|()| Vec::new()),
        ChildWork::Compile => compile(wasm),
    }
}

fn compile(wasm: &[u8]) -> Result<Vec<u8>, LoadError> {
    let inspection = inspect::inspect(wasm)?;
    walk::validate(wasm)?;
    let wrapped;
    let component = match inspection.form {
        FileForm::Component => wasm,
        FileForm::CoreModule => {
            wrapped = componentize(wasm)?;
            // Its imports are known only now.
            inspect::inspect(&wrapped)?;
            &wrapped
        }
    };
    let failed = |error: wasmtime::Error| LoadError::Compile(format!("{error:#}"));
    weight::check(component)?;
    let engine = engine::compiling().map_err(failed)?;
    let component = expose(component);
    engine.precompile_component(&component).map_err(failed)
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

/// An error as it is sent through the pipe: only those that the parent could not have
/// found by itself.
fn encode(error: &LoadError) -> Vec<u8> {
    let (kind, text) = match error {
        LoadError::Truncated { at } => (format!("truncated {at}"), String::new()),
        LoadError::Invalid { at, reason } => (format!("invalid {at}"), reason.clone()),
        LoadError::Componentize(text) => ("componentize".to_owned(), text.clone()),
        LoadError::Compile(text) => ("compile".to_owned(), text.clone()),
        LoadError::UnknownImports(names) => ("imports".to_owned(), names.join("\n")),
        other => ("componentize".to_owned(), other.to_string()),
    };
    [ERR, kind.as_bytes(), b"\n", text.as_bytes()].concat()
}

/// The inverse of [`encode`]. The child's text may quote an untrusted file, so it is
/// truncated and cleaned. `None` if it is not a valid answer.
pub(crate) fn decode(bytes: &[u8]) -> Option<LoadError> {
    let bytes = &bytes[..bytes.len().min(MAX_ERROR_BYTES)];
    let said = String::from_utf8_lossy(bytes);
    let (head, text) = said.split_once('\n')?;
    let (kind, at) = head.split_once(' ').unwrap_or((head, ""));
    let at = || at.parse().ok();
    let lines = |text: &str| clean_text(text, MAX_ERROR_BYTES);
    Some(match kind {
        "truncated" => LoadError::Truncated { at: at()? },
        "invalid" => LoadError::Invalid {
            at: at()?,
            reason: clean(text, 300),
        },
        "componentize" => LoadError::Componentize(lines(text)),
        "imports" => LoadError::UnknownImports(lines(text).lines().map(str::to_owned).collect()),
        "compile" => LoadError::Compile(lines(text)),
        _ => return None,
    })
}

fn limit(request: &ChildRequest) -> io::Result<()> {
    set(libc::RLIMIT_AS, request.memory, request.memory)?;
    // Memory that was reserved before and is still unused counts once it is used.
    set(libc::RLIMIT_DATA, request.memory, request.memory)?;
    // Soft below hard: reaching the soft limit sends its own signal.
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
