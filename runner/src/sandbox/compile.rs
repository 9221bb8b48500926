//! The parent's side of compiling: start the child, feed it, watch it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::child::{self, Request, Work};
use super::logs::clean;
use super::{LoadError, SandboxConfig};

/// More compiled code than any file within the size limit makes.
const MAX_CODE_BYTES: u64 = 512 << 20;
/// What a child may say on stderr before it is not listened to any more.
const MAX_STDERR_BYTES: u64 = 64 << 10;
/// Threads of the child. Each takes a stack and a heap of its own out of the
/// child's address space.
const THREADS: u64 = 4;
/// Everything the child's environment holds: functions that make the compiler
/// recurse need stack, and its threads should share heaps.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("RAYON_NUM_THREADS", "4"),
    ("RUST_MIN_STACK", "16777216"),
    ("MALLOC_ARENA_MAX", "2"),
];

/// What a child says that met the limit of its memory, or found none.
const OUT_OF_MEMORY: [&str; 3] = [
    "memory allocation of",
    "Cannot allocate memory",
    // The child's own reading, which asks for room before it takes it.
    "out of memory",
];
/// What a child says to which the machine gave no more threads.
const NO_THREAD: [&str; 1] = ["Resource temporarily unavailable"];

/// Compiles `wasm`, in a child process if there is a compiler to run.
/// Cancel-safe: the child is killed when the future is dropped.
pub(super) async fn compile(config: &SandboxConfig, wasm: Arc<[u8]>) -> Result<Vec<u8>, LoadError> {
    work(config, Work::Compile, wasm).await
}

/// Says whether the whole file is valid WebAssembly, as a runner would find out
/// before it compiles it: in a child process, under the limits of a compilation.
/// Needs a tokio runtime. Cancel-safe.
pub async fn validate(config: &SandboxConfig, wasm: Arc<[u8]>) -> Result<(), LoadError> {
    work(config, Work::Validate, wasm).await.map(drop)
}

async fn work(config: &SandboxConfig, work: Work, wasm: Arc<[u8]>) -> Result<Vec<u8>, LoadError> {
    match &config.compiler {
        Some(program) => in_child(program, config, work, &wasm).await,
        None => tokio::task::spawn_blocking(move || child::do_work(work, &wasm))
            .await
            .map_err(|error| LoadError::Internal(error.to_string()))?,
    }
}

async fn in_child(
    program: &Path,
    config: &SandboxConfig,
    work: Work,
    wasm: &[u8],
) -> Result<Vec<u8>, LoadError> {
    let seconds = config.compile_timeout.as_secs_f64().ceil() as u64;
    let cannot_run = |error: io::Error| LoadError::Compiler {
        program: program.to_owned(),
        reason: error.to_string(),
    };
    let request = Request {
        memory: config.compile_memory,
        cpu_seconds: seconds.saturating_mul(THREADS).max(1),
        max_file_bytes: config.max_file_bytes,
        work,
    };
    let mut head = serde_json::to_vec(&request).map_err(|error| cannot_run(error.into()))?;
    head.push(b'\n');
    let child = Command::new(program)
        .arg("compile-plugin")
        .env_clear()
        .envs(ENVIRONMENT)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot_run)?;
    let talk = talk(child, &head, wasm);
    let Ok(said) = tokio::time::timeout(config.compile_timeout, talk).await else {
        return Err(LoadError::CompileTimeout { seconds });
    };
    let said = said.map_err(cannot_run)?;
    read(said, config, seconds)
}

/// What a child left behind.
struct Said {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

async fn talk(mut child: Child, head: &[u8], wasm: &[u8]) -> io::Result<Said> {
    let gone = || io::Error::other("a pipe to the compiler is missing");
    let mut stdin = child.stdin.take().ok_or_else(gone)?;
    let stdout = child.stdout.take().ok_or_else(gone)?;
    let stderr = child.stderr.take().ok_or_else(gone)?;
    let feed = async move {
        // A child that dies early closes the pipe; its status says why.
        let _ = stdin.write_all(head).await;
        let _ = stdin.write_all(wasm).await;
    };
    let ((), stdout, stderr) = tokio::join!(
        feed,
        drain(stdout, MAX_CODE_BYTES),
        drain(stderr, MAX_STDERR_BYTES)
    );
    let (stdout, stderr) = (stdout?, stderr?);
    Ok(Said {
        status: child.wait().await?,
        stdout,
        stderr,
    })
}

/// Reads at most `limit` bytes, then closes the pipe.
async fn drain(pipe: impl AsyncRead + Unpin, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.take(limit).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

fn read(mut said: Said, config: &SandboxConfig, seconds: u64) -> Result<Vec<u8>, LoadError> {
    if said.status.success() {
        if said.stdout.starts_with(child::OK) {
            return Ok(said.stdout.split_off(child::OK.len()));
        }
        if let Some(error) = said.stdout.strip_prefix(child::ERR) {
            return Err(child::decode(error));
        }
    }
    let stderr = String::from_utf8_lossy(&said.stderr);
    let says = |text: &&str| stderr.contains(*text);
    if OUT_OF_MEMORY.iter().any(says) {
        return Err(LoadError::CompileMemory {
            mib: config.compile_memory >> 20,
        });
    }
    let last = clean(stderr.trim().lines().last().unwrap_or_default(), 500);
    let status = said.status;
    let reason = match last.is_empty() {
        true => format!("it ended with {status}"),
        false => format!("it ended with {status}: {last}"),
    };
    match status.signal() {
        Some(libc::SIGXCPU) => Err(LoadError::CompileTimeout { seconds }),
        // Its own doing, which would be the same again.
        Some(libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGABRT | libc::SIGFPE) => {
            Err(LoadError::Compile(format!("the compiler broke: {reason}")))
        }
        // The system's, when it was short of memory, or somebody's.
        Some(_) => Err(LoadError::CompileKilled { reason }),
        None if NO_THREAD.iter().any(says) => Err(LoadError::CompileKilled { reason }),
        None => Err(LoadError::Compile(format!("the compiler failed: {reason}"))),
    }
}
