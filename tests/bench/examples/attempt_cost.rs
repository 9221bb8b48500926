//! The cost of one attempt: a new store and instance, one call, and their drop.
//!
//! ```text
//! cargo run --release -p pgtq-bench --example attempt_cost -- FILE.wasm HANDLER 'ARGS' [THREADS [COUNT]]
//! ```
//!
//! Prints the processor time per attempt in µs for both allocators, on THREADS threads (1 by
//! default), each with its own runtime. Processor time, because it depends less on the load
//! of the machine. Linux only. Compiles in a child process, as a runner does: this program
//! as `compile-plugin`.
//!
//! With COUNT it runs that many attempts with the on-demand allocator and prints no time. For
//! `valgrind --tool=callgrind`: the difference of two runs is the cost of the additional
//! attempts.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pgtq_sandbox::{Allocator, Compiler, Sandbox, SandboxConfig, compile_child};
use pgtq_task::{Attempt, ClaimId, Digest, Handler, Name, Outcome, Signal, Task, TaskId};

const MEASURED: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;

fn main() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "compile-plugin") {
        return Ok(compile_child());
    }
    let [file, handler, task_args, rest @ ..] = args.as_slice() else {
        anyhow::bail!("usage: attempt_cost FILE.wasm HANDLER 'ARGS' [THREADS]");
    };
    let threads = rest.first().map_or(Ok(1), |n| n.parse())?;
    let count: Option<u64> = rest.get(1).map(|n| n.parse()).transpose()?;
    let bytes = std::fs::read(file).with_context(|| format!("read {file}"))?;
    // Valgrind does not have enough address space for a pool.
    let allocators = match count {
        Some(_) => &[Allocator::OnDemand][..],
        None => &[Allocator::Pooling, Allocator::OnDemand],
    };
    for &allocator in allocators {
        let config = SandboxConfig {
            allocator,
            // Under valgrind the current executable is valgrind.
            compiler: match count {
                Some(_) => None,
                None => Some(Compiler::own_image()?),
            },
            ..SandboxConfig::default()
        };
        let started = Instant::now();
        let handler = load(config, &bytes, handler)?;
        if let Some(count) = count {
            run(&handler, task_args, Some(count))?;
            return Ok(ExitCode::SUCCESS);
        }
        println!("{allocator:?}: loaded in {:?}", started.elapsed());
        for _ in 0..ROUNDS {
            round(&handler, task_args, threads)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn load(config: SandboxConfig, bytes: &[u8], name: &str) -> Result<Arc<dyn Handler>> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let sandbox = Sandbox::new(config)?;
        let digest = Digest::of(bytes);
        let compiled = sandbox.compile(Arc::from(bytes), digest).await?;
        let manifest = compiled.probe().await?;
        let handlers = compiled.handlers(&manifest, "bench");
        let found = handlers
            .into_iter()
            .find(|h| h.info().name.as_str() == name);
        found.with_context(|| format!("no handler `{name}` in the file"))
    })
}

fn round(handler: &Arc<dyn Handler>, args: &str, threads: usize) -> Result<()> {
    let counts: Vec<_> = (0..threads)
        .map(|_| {
            let (handler, args) = (Arc::clone(handler), args.to_owned());
            std::thread::spawn(move || run(&handler, &args, None))
        })
        .collect();
    let (mut attempts, mut busy) = (0, Duration::ZERO);
    for count in counts {
        let (n, time) = count.join().expect("no panic")?;
        attempts += n;
        busy += time;
    }
    let each = busy.as_secs_f64() * 1e6 / attempts as f64;
    let rate = attempts as f64 / MEASURED.as_secs_f64();
    println!("  {each:.1} µs per attempt, {rate:.0}/s by the clock");
    Ok(())
}

/// The processor time of this thread.
fn busy() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = stat.split(' ').next().context("schedstat is empty")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

fn run(handler: &Arc<dyn Handler>, args: &str, count: Option<u64>) -> Result<(u64, Duration)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let task = Arc::new(Task {
        id: TaskId(1),
        queue: Name::default_queue(),
        handler: handler.info().name.clone(),
        priority: 0,
        args: args.to_owned(),
        attempts: 0,
        crashes: 0,
        retries: None,
        pushed_at: jiff::Timestamp::UNIX_EPOCH,
        due_at: jiff::Timestamp::UNIX_EPOCH,
        key: None,
        parent: None,
        traits: None,
    });
    runtime.block_on(async {
        let (started, idle) = (Instant::now(), busy()?);
        let mut attempts = 0;
        let is_done = |attempts| match count {
            Some(count) => attempts >= count,
            None => started.elapsed() >= MEASURED,
        };
        while !is_done(attempts) {
            let attempt = Attempt {
                task: Arc::clone(&task),
                claim: ClaimId(1),
                signal: Arc::new(Signal::default()),
                database: Arc::new(pgtq_task::NoDatabase),
            };
            let report = handler.call(attempt).await;
            let complete = matches!(report.outcome, Outcome::Complete { .. });
            ensure!(
                complete,
                "the handler did not complete: {:?}",
                report.outcome
            );
            attempts += 1;
        }
        Ok((attempts, busy()? - idle))
    })
}
