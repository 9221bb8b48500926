//! The parent's side of compiling: starts the child, sends it the file, watches it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::compile::child::{self, ChildRequest, ChildWork};
use crate::compiler::Compiler;
use crate::config::SandboxConfig;
use crate::error::LoadError;
use crate::text::clean;

/// More compiled code than any file within the size limit produces.
const MAX_CODE_BYTES: u64 = 512 << 20;
/// Bytes of the child's stderr that are read.
const MAX_STDERR_BYTES: u64 = 64 << 10;
/// The wall-clock limit of a compilation as a multiple of its processor time: other
/// programs and attempts need the processors too.
const WALL_FACTOR: u32 = 10;
/// The child's whole environment: functions that make the compiler recurse need stack,
/// and its threads should share heaps.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("RAYON_NUM_THREADS", "4"),
    ("RUST_MIN_STACK", "16777216"),
    ("MALLOC_ARENA_MAX", "2"),
];

/// Messages of a child that reached its memory limit or found no memory.
const OUT_OF_MEMORY: [&str; 3] = [
    "memory allocation of",
    "Cannot allocate memory",
    // The child's own read, which reserves memory first.
    "out of memory",
];
/// Messages of a child for which the machine had no more threads.
const NO_THREAD: [&str; 1] = ["Resource temporarily unavailable"];

/// Compiles `wasm`, in a child process if a compiler is configured. Cancel-safe: the
/// child is killed when the future is dropped.
pub(crate) async fn compile(config: &SandboxConfig, wasm: Arc<[u8]>) -> Result<Vec<u8>, LoadError> {
    work(config, ChildWork::Compile, wasm).await
}

/// Validates the whole file, as a runner does before it compiles it: in a child process,
/// under the limits of a compilation. Needs a tokio runtime. Cancel-safe.
pub async fn validate(config: &SandboxConfig, wasm: Arc<[u8]>) -> Result<(), LoadError> {
    work(config, ChildWork::Validate, wasm).await.map(drop)
}

async fn work(
    config: &SandboxConfig,
    work: ChildWork,
    wasm: Arc<[u8]>,
) -> Result<Vec<u8>, LoadError> {
    match &config.compiler {
        Some(program) => in_child(program, config, work, &wasm).await,
        None => tokio::task::spawn_blocking(move || child::do_work(work, &wasm))
            .await
            .map_err(|error| LoadError::Internal(error.to_string()))?,
    }
}

async fn in_child(
    compiler: &Compiler,
    config: &SandboxConfig,
    work: ChildWork,
    wasm: &[u8],
) -> Result<Vec<u8>, LoadError> {
    let seconds = (config.compile_timeout.as_secs_f64().ceil() as u64).max(1);
    let cannot_run = |error: io::Error| LoadError::Compiler {
        program: compiler.name.clone(),
        reason: error.to_string(),
    };
    let greeting = child::greeting()?;
    let request = ChildRequest {
        memory: config.compile_memory,
        cpu_seconds: seconds,
        max_file_bytes: config.max_file_bytes,
        work,
    };
    let mut head = serde_json::to_vec(&request).map_err(|error| cannot_run(error.into()))?;
    head.push(b'\n');
    let child = Command::new(&compiler.program)
        .arg0("pgtq")
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
    let exchange = exchange(child, &head, wasm);
    let wall = config.compile_timeout.saturating_mul(WALL_FACTOR);
    let Ok(output) = tokio::time::timeout(wall, exchange).await else {
        return Err(LoadError::CompileStalled {
            seconds: wall.as_secs().max(1),
        });
    };
    let output = output.map_err(cannot_run)?;
    read(output, &greeting, config, seconds)
}

/// The output of a child and its exit status.
struct ChildOutput {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

async fn exchange(mut child: Child, head: &[u8], wasm: &[u8]) -> io::Result<ChildOutput> {
    let gone = || io::Error::other("a pipe to the compiler is missing");
    let mut stdin = child.stdin.take().ok_or_else(gone)?;
    let stdout = child.stdout.take().ok_or_else(gone)?;
    let stderr = child.stderr.take().ok_or_else(gone)?;
    let feed = async move {
        // A child that crashes early closes the pipe; its status says why.
        let _ = stdin.write_all(head).await;
        let _ = stdin.write_all(wasm).await;
    };
    let ((), stdout, stderr) = tokio::join!(
        feed,
        drain(stdout, MAX_CODE_BYTES),
        drain(stderr, MAX_STDERR_BYTES)
    );
    let (stdout, stderr) = (stdout?, stderr?);
    Ok(ChildOutput {
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

/// Interprets the child's end. Only a complete answer is a verdict against the file;
/// everything else may be the machine's fault.
fn read(
    mut output: ChildOutput,
    greeting: &str,
    config: &SandboxConfig,
    seconds: u64,
) -> Result<Vec<u8>, LoadError> {
    let greets = output.stdout.starts_with(greeting.as_bytes());
    if greets && output.status.success() {
        let mut answer = output.stdout.split_off(greeting.len());
        if answer.starts_with(child::OK) {
            return Ok(answer.split_off(child::OK.len()));
        }
        if let Some(error) = answer.strip_prefix(child::ERR).and_then(child::decode) {
            return Err(error);
        }
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let says = |text: &&str| stderr.contains(*text);
    if OUT_OF_MEMORY.iter().any(says) {
        return Err(LoadError::CompileMemory {
            mib: config.compile_memory >> 20,
        });
    }
    let last = clean(stderr.trim().lines().last().unwrap_or_default(), 500);
    let status = output.status;
    let mut reason = format!("it ended with {status}");
    if !greets && output.stdout.starts_with(child::GREETING.as_bytes()) {
        reason += ", and its version differs from this program's";
    } else if !greets && !output.stdout.is_empty() {
        reason += ", and it is a different program";
    }
    if !last.is_empty() {
        reason = format!("{reason}: {last}");
    }
    match status.signal() {
        Some(libc::SIGXCPU) => Err(LoadError::CompileTimeout { seconds }),
        // Sent by the system when it was short of memory, or by a user.
        Some(libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP) => {
            Err(LoadError::CompileKilled { reason })
        }
        None if NO_THREAD.iter().any(says) => Err(LoadError::CompileKilled { reason }),
        _ => Err(LoadError::CompilerFailed { reason }),
    }
}
