//! The adapter of pgtq for a harness that compares task queues.
//!
//! ```text
//! peer_adapter info|setup|enqueue N|drain N|latency RATE SECONDS
//! ```
//!
//! `DATABASE_URL` is the database. Prints JSON lines: its description, when the tasks were
//! pushed, how many handlers have started, and when each single task was pushed and started.
//! The handlers are those of the example plugin `hello`, in the sandbox with all limits, each
//! wrapped by a counter. `PGTQ_PEER_PLUGIN` is the built file; by default it is built. Exits
//! at the end of standard input.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use pgtq_engine::plugin::{NewVersion, Registry};
use pgtq_engine::{EngineConfig, Shutdown, run};
use pgtq_sandbox::{Compiler, Sandbox, SandboxConfig, compile_child};
use pgtq_setup::toolchain::{BuildOptions, CompilerOutput, Toolchain, build_plugin};
use pgtq_store::{DatabaseConfig, Store};
use pgtq_task::{Attempt, Digest, Grant, Handler, HandlerFuture, HandlerInfo, Name, NewTask};
use serde_json::{Value, json};

static STARTED: AtomicU64 = AtomicU64::new(0);

/// Tasks per bulk push.
const BATCH: u64 = 5_000;
/// The interval of printing the number of started handlers while it changes.
const EVERY: Duration = Duration::from_millis(50);

fn main() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    if words == ["compile-plugin"] {
        return Ok(compile_child());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        match words.as_slice() {
            ["info"] => info(),
            ["setup"] => drop(store().await?.migrate().await?),
            ["enqueue", n] => enqueue(n.parse()?).await?,
            ["drain", _] => drain().await?,
            ["latency", rate, seconds] => latency(rate.parse()?, seconds.parse()?).await?,
            _ => bail!("usage: peer_adapter info|setup|enqueue N|drain N|latency RATE SECONDS"),
        }
        anyhow::Ok(())
    })?;
    // Exits directly, because a blocking read of standard input cannot be cancelled.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

fn info() {
    let slots = EngineConfig::default().queues[0].slots;
    emit(&json!({
        "peer": "pgtq", "version": env!("CARGO_PKG_VERSION"),
        "settings": format!("1 process, {slots} slots, sandbox and fuel on; enqueue pgtq.push_rows x{BATCH}; latency: the same, LISTEN"),
        "left_sql": "select (select count(*) from pgtq.scheduled_tasks) + (select count(*) from pgtq.runnable_tasks) + (select count(*) from pgtq.in_flight)",
        "any_left_sql": "select exists(select 1 from pgtq.runnable_tasks) or exists(select 1 from pgtq.claims) or exists(select 1 from pgtq.scheduled_tasks)",
        "done_sql": "select count(*) from pgtq.history where state = 'complete'",
    }));
}

async fn store() -> Result<Store> {
    let url = std::env::var("DATABASE_URL").context("read DATABASE_URL")?;
    Ok(Store::connect(DatabaseConfig::parse(&url)?).await?)
}

async fn enqueue(n: u64) -> Result<()> {
    let store = store().await?;
    let name = Name::new("add_numbers")?;
    let begun = now();
    let mut left = n;
    while left > 0 {
        let batch = left.min(BATCH);
        let tasks: Vec<NewTask> = (0..batch)
            .map(|_| NewTask::new(name.clone(), r#"{"a":2,"b":3}"#))
            .collect();
        store.push(&tasks).await?;
        left -= batch;
    }
    emit(&json!({"ev": "enqueued", "n": n, "t0": begun, "t1": now()}));
    Ok(())
}

async fn drain() -> Result<()> {
    let reporting = tokio::spawn(report());
    let engine = Engine::start(false).await?;
    input_closed().await;
    engine.stop().await?;
    reporting.abort();
    progress(STARTED.load(Relaxed));
    Ok(())
}

async fn latency(rate: u64, seconds: u64) -> Result<()> {
    let store = store().await?;
    let engine = Engine::start(true).await?;
    let name = Name::new("add_numbers")?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = now();
    for id in 0..rate * seconds {
        let due = begun + id as f64 * 1_000.0 / rate as f64;
        let wait = (due - now()).max(0.0);
        tokio::time::sleep(Duration::from_secs_f64(wait / 1_000.0)).await;
        let task = NewTask::new(name.clone(), json!({"a": id, "b": 0}).to_string());
        store.push(&[task]).await?;
        emit(&json!({"ev": "enq", "id": id, "due": due, "t": now()}));
    }
    input_closed().await;
    engine.stop().await
}

struct Engine {
    shutdown: Shutdown,
    running: tokio::task::JoinHandle<Result<pgtq_engine::Summary, pgtq_engine::EngineError>>,
}

impl Engine {
    /// With `each`, the start of every single task is printed.
    async fn start(each: bool) -> Result<Self> {
        let registry = Registry::new();
        let bytes = plugin().await?;
        let digest = Digest::of(&bytes);
        let config = EngineConfig::default();
        let sandbox = Sandbox::new(SandboxConfig {
            slots: config.queues[0].slots + 2,
            compiler: Some(Compiler::own_image()?),
            ..SandboxConfig::default()
        })?;
        let compiled = sandbox.compile(Arc::from(bytes), digest).await?;
        let manifest = compiled.probe().await?;
        let handlers = compiled.handlers(&manifest, "hello").into_iter();
        let counted = |inner| -> Arc<dyn Handler> { Arc::new(Counted { inner, each }) };
        let version = NewVersion {
            digest: Some(digest),
            plugin: None,
            handlers: handlers.map(counted).collect(),
        };
        if registry.serve("hello.wasm", version).is_err() {
            bail!("the plugin's handlers are already registered");
        }
        let shutdown = Shutdown::new();
        let running = tokio::spawn(run(store().await?, registry, config, shutdown.clone()));
        Ok(Engine { shutdown, running })
    }

    async fn stop(self) -> Result<()> {
        self.shutdown.drain();
        self.running.await??;
        Ok(())
    }
}

/// A sandbox handler that reports its start.
struct Counted {
    inner: Arc<dyn Handler>,
    each: bool,
}

impl Handler for Counted {
    fn info(&self) -> &HandlerInfo {
        self.inner.info()
    }

    fn digest(&self) -> Option<Digest> {
        self.inner.digest()
    }

    fn grant(&self) -> Arc<Grant> {
        self.inner.grant()
    }

    fn call(&self, attempt: Attempt) -> HandlerFuture {
        if self.each {
            let args: Value = serde_json::from_str(&attempt.task.args).unwrap_or_default();
            emit(&json!({"ev": "run", "id": args["a"], "t": now()}));
        } else if STARTED.fetch_add(1, Relaxed) == 0 {
            progress(1);
        }
        self.inner.call(attempt)
    }
}

async fn report() {
    let mut last = 0;
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tick.tick().await;
        let n = STARTED.load(Relaxed);
        if n != last {
            progress(n);
            last = n;
        }
    }
}

fn progress(n: u64) {
    emit(&json!({"ev": "p", "w": std::process::id(), "t": now(), "n": n}));
}

/// The bytes of `hello`: the given file, or built from the examples.
async fn plugin() -> Result<Vec<u8>> {
    let named = std::env::var_os("PGTQ_PEER_PLUGIN").map(PathBuf::from);
    let file = match named {
        Some(file) => file,
        None => tokio::task::spawn_blocking(build).await??,
    };
    std::fs::read(&file).with_context(|| format!("read {}", file.display()))
}

fn build() -> Result<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    let toolchain = Toolchain::ensure(&dir, &|line| eprintln!("{line}"))
        .map_err(|missing| anyhow::anyhow!("no WebAssembly toolchain: {}", missing.fix))?;
    let options = BuildOptions {
        package: Some("hello".to_owned()),
        output: CompilerOutput::Keep,
        ..BuildOptions::default()
    };
    let built = build_plugin(&toolchain, &dir, &options)?;
    Ok(built
        .wasm_of("hello")
        .context("hello was not built")?
        .to_owned())
}

async fn input_closed() {
    let mut sink = tokio::io::sink();
    // A read error counts as the end.
    let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut sink).await;
}

fn emit(event: &Value) {
    let line = format!("{event}\n");
    let mut out = std::io::stdout().lock();
    // Errors are ignored: a harness that stops reading will stop this process.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

/// Milliseconds since the epoch.
fn now() -> f64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    now.as_micros() as f64 / 1_000.0
}
