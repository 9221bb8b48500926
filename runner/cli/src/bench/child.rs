//! Attempts without a database: on threads of this process, or in child processes, which
//! all finish loading before the measurement starts.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

use super::options::BenchOptions;
use super::stage::BenchEnvironment;
use crate::config::Config;
use crate::context::Context;
use crate::error::{Exit, Problem};
use crate::machine;
use crate::verbs::dev::joined;
use pgtq_sandbox::{Compiled, Phases};
use pgtq_task::{
    Attempt, ClaimId, Handler, Name, NewTask, NoDatabase, Outcome, Report, Signal, Task, TaskId,
};

/// A handler that is ready to be called.
pub struct BenchHandler {
    compiled: Compiled,
    handler: Arc<dyn Handler>,
    task: Arc<Task>,
}

impl BenchHandler {
    /// Loads the handler of `task` from `file`, for `slots` concurrent attempts.
    pub async fn load(
        config: &Config,
        file: &Path,
        task: &NewTask,
        slots: u32,
    ) -> Result<Self, Problem> {
        let sandbox = machine::sandbox(config, slots + 1)?;
        let loaded = machine::load(&sandbox, file).await?;
        let handlers = loaded.compiled.handlers(&loaded.manifest, &loaded.plugin);
        let wanted = |handler: &Arc<dyn Handler>| handler.info().name == task.handler;
        let handler = handlers.into_iter().find(wanted).ok_or_else(|| {
            Problem::not_found(format!(
                "{} has no handler `{}`",
                file.display(),
                task.handler
            ))
        })?;
        Ok(BenchHandler {
            compiled: loaded.compiled,
            handler,
            task: Arc::new(claimed(task)),
        })
    }

    /// Runs one attempt like the engine.
    pub async fn once(&self) -> Result<Report, Problem> {
        once(self.handler.as_ref(), &self.task).await
    }

    /// Runs one attempt and measures its phases.
    pub(super) async fn phases(&self) -> Result<Phases, Problem> {
        let phases = self
            .compiled
            .phases(self.handler.info(), attempt(&self.task))
            .await;
        phases.map_err(|error| Problem::failed(format!("the attempt failed: {error}")))
    }

    /// Attempts per second on `threads` threads, each with its own runtime.
    pub(super) async fn on_threads(&self, threads: u32, time: Duration) -> Result<f64, Problem> {
        let (handler, task) = (Arc::clone(&self.handler), Arc::clone(&self.task));
        let counted =
            tokio::task::spawn_blocking(move || on_threads(&handler, &task, threads, time));
        joined(counted.await)?
    }
}

fn on_threads(
    handler: &Arc<dyn Handler>,
    task: &Arc<Task>,
    threads: u32,
    time: Duration,
) -> Result<f64, Problem> {
    let started = Instant::now();
    let one = || -> Result<u64, Problem> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut n = 0;
            while started.elapsed() < time {
                once(handler.as_ref(), task).await?;
                n += 1;
            }
            Ok(n)
        })
    };
    let total = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        let joined = all.into_iter().map(|thread| {
            let died = |_| Err(Problem::failed("a benchmark thread panicked"));
            thread.join().unwrap_or_else(died)
        });
        joined.sum::<Result<u64, Problem>>()
    })?;
    Ok(total as f64 / started.elapsed().as_secs_f64())
}

async fn once(handler: &dyn Handler, task: &Arc<Task>) -> Result<Report, Problem> {
    let report = handler.call(attempt(task)).await;
    match &report.outcome {
        Outcome::Complete { .. } => Ok(report),
        other => Err(Problem::new(
            Exit::TaskFailed,
            format!("the attempt did not complete: {other:?}"),
        )),
    }
}

fn attempt(task: &Arc<Task>) -> Attempt {
    Attempt {
        task: Arc::clone(task),
        claim: ClaimId(0),
        signal: Arc::new(Signal::default()),
        database: Arc::new(NoDatabase),
    }
}

fn claimed(new: &NewTask) -> Task {
    Task {
        id: TaskId(1),
        queue: Name::default_queue(),
        handler: new.handler.clone(),
        priority: 0,
        args: new.args.clone(),
        attempts: 0,
        crashes: 0,
        retries: None,
        pushed_at: jiff::Timestamp::UNIX_EPOCH,
        due_at: jiff::Timestamp::UNIX_EPOCH,
        key: None,
        parent: None,
        traits: None,
    }
}

/// The file in the plugin directory whose plugin has this handler.
pub async fn file_of(config: &Config, handler: &str) -> Result<PathBuf, Problem> {
    let sandbox = machine::sandbox(config, 1)?;
    let dir = &config.run.plugins;
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "wasm"));
    files.sort();
    for file in files {
        let loaded = machine::load(&sandbox, &file).await?;
        if loaded
            .manifest
            .handlers
            .iter()
            .any(|info| info.name.as_str() == handler)
        {
            return Ok(file);
        }
    }
    Err(Problem::not_found(format!(
        "no plugin in `{}` has a handler `{handler}`",
        dir.display()
    )))
}

/// Attempts per second of `n` processes with one thread each.
pub(super) async fn processes(
    stage: &BenchEnvironment<'_>,
    file: &Path,
    n: u32,
) -> Result<f64, Problem> {
    let mut children = Vec::new();
    for _ in 0..n {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("bench")
            .arg("--child")
            .arg(file)
            .args(["--seconds", &stage.options.seconds.to_string()])
            .args([
                "--handler",
                &stage.options.handler,
                "--args",
                &stage.options.args,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let missing = || Problem::failed("a benchmark process has no pipe");
        let input = child.stdin.take().ok_or_else(missing)?;
        let lines = BufReader::new(child.stdout.take().ok_or_else(missing)?).lines();
        children.push((child, input, lines));
    }
    let gone = || Problem::failed("a benchmark process exited early; see its output above");
    for (_, _, lines) in &mut children {
        lines.next_line().await?.ok_or_else(gone)?;
    }
    for (_, input, _) in &mut children {
        input.write_all(b"go\n").await?;
    }
    let mut total = 0.0;
    for (child, _, lines) in &mut children {
        let line = lines.next_line().await?.ok_or_else(gone)?;
        let rate: Result<f64, _> = line.parse();
        total += rate.map_err(|_| {
            Problem::failed(format!(
                "unexpected output of a benchmark process: `{line}`"
            ))
        })?;
        child.wait().await?;
    }
    Ok(total)
}

/// The child process of [`processes`]: loads the plugin, prints `ready`, waits for a line
/// and prints its rate.
pub(crate) async fn serve(
    options: &BenchOptions,
    file: &Path,
    context: &Context,
) -> Result<(), Problem> {
    let mut config = context.config(Vec::new())?;
    config.caps = config.limits.uncapped();
    let task = NewTask::new(Name::new(&options.handler)?, options.args.clone());
    let loaded = BenchHandler::load(&config, file, &task, 1).await?;
    loaded.once().await?;
    context.out.raw("ready\n")?;
    BufReader::new(tokio::io::stdin())
        .lines()
        .next_line()
        .await?;
    let time = Duration::from_secs(options.seconds.into());
    let rate = loaded.on_threads(1, time).await?;
    context.out.raw(&format!("{rate}\n"))
}
