//! `pgtq bench`: figures of this machine, each measured while it is printed.
//!
//! Attempts: one handler called in a row on one thread, no database. Enqueue:
//! batches of 1,000, one connection. Drain: the backlog to the last durable
//! ending, from the moment the engine starts with its plugins loaded.
//! Latency: an open loop at a steady rate, from commit of the push (its
//! transaction's `now()`) to the start of the attempt, both database time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::demo::stage::sources;
use super::dev::{joined, say, start_postgres};
use crate::cli::context::Context;
use crate::cli::error::{Exit, Problem};
use crate::cli::output::Cell;
use crate::cli::runner::{Runner, Until};
use crate::cli::{database, machine, progress, text};
use crate::config::Config;
use crate::plugin::Registry;
use crate::setup::postgres::Options;
use crate::setup::toolchain::{BuildOptions, Output, Toolchain, build_plugin};
use crate::store::Store;
use crate::task::{Attempt, ClaimId, Handler, Name, NewTask, Outcome, Signal, Task, TaskId};

/// Measure this machine: tasks a second, latency, cost of one attempt.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Tasks to enqueue and to drain
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    tasks: u32,
    /// Attempts to time without a database
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    attempts: u32,
    /// Pushes a second while latency is measured
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// How long latency is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// The handler to run
    #[arg(long, value_name = "NAME", default_value = "add_numbers")]
    handler: String,
    /// Its arguments
    #[arg(long, value_name = "JSON", default_value = r#"{"a":2,"b":3}"#)]
    args: String,
    /// Directory with its .wasm file; unset builds the example `hello`
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
}

/// Everything measured.
#[derive(Debug, Default, serde::Serialize)]
struct Figures {
    attempt_us: f64,
    enqueued_per_second: f64,
    drained_per_second: f64,
    start_p50_ms: f64,
    start_p99_ms: f64,
}

pub(crate) async fn run(args: BenchArgs, context: &Context) -> Result<(), Problem> {
    let mut config = context.config(Vec::new())?;
    let task = NewTask::new(Name::new(&args.handler)?, args.args.clone());
    let built = tempfile::Builder::new().prefix("pgtq-bench-").tempdir()?;
    config.run.plugins = match &args.plugins {
        Some(dir) => dir.clone(),
        None => build_hello(context, built.path()).await?,
    };
    config.run.listen = None;
    let server = match context.global.database_url.is_some() {
        true => None,
        // Fsync stays on: a figure without it says nothing.
        false => Some(
            start_postgres(
                context,
                Options {
                    durable: true,
                    ..Options::ephemeral()
                },
            )
            .await?,
        ),
    };
    let database = match &server {
        Some(server) => database::at(&config, &server.url())?,
        None => database::configured(&config)?.ok_or_else(database::unconfigured)?,
    };
    let store = Store::connect(database).await?;
    store.migrate().await?;

    let mut figures = Figures {
        attempt_us: attempts(&config, &task, args.attempts).await?,
        ..Figures::default()
    };
    context.note(format!(
        "one sandboxed attempt: {:.1} µs",
        figures.attempt_us
    ));
    figures.enqueued_per_second = enqueue(&store, &task, args.tasks).await?;
    context.note(format!(
        "enqueue: {} tasks/s",
        text::count(figures.enqueued_per_second as u64)
    ));
    figures.drained_per_second = drain(context, &config, &store, args.tasks).await?;
    context.note(format!(
        "drain: {} tasks/s",
        text::count(figures.drained_per_second as u64)
    ));
    (figures.start_p50_ms, figures.start_p99_ms) = latency(&config, &store, &task, &args).await?;
    print(context, &figures)?;
    drop(store);
    if let Some(server) = server {
        joined(tokio::task::spawn_blocking(move || server.stop()).await)??;
    }
    Ok(())
}

fn print(context: &Context, figures: &Figures) -> Result<(), Problem> {
    let count = |n: f64| Cell::new(text::count(n as u64), format!("{n:.0}"));
    let fine = |n: f64, unit: &str| Cell::new(format!("{n:.1} {unit}"), format!("{n:.3}"));
    let pairs = [
        ("one sandboxed attempt", fine(figures.attempt_us, "µs")),
        ("enqueued per second", count(figures.enqueued_per_second)),
        ("drained per second", count(figures.drained_per_second)),
        ("push to start, p50", fine(figures.start_p50_ms, "ms")),
        ("push to start, p99", fine(figures.start_p99_ms, "ms")),
    ];
    context
        .out
        .one("pgtq.bench/v1", "bench", &pairs, json!(figures))
}

async fn build_hello(context: &Context, out: &Path) -> Result<PathBuf, Problem> {
    let dir = sources(&context.here)?;
    let out_dir = out.join("plugins");
    let options = BuildOptions {
        package: Some("hello".to_owned()),
        out_dir: Some(out_dir.clone()),
        output: Output::Keep,
        ..BuildOptions::default()
    };
    let quiet = context.global.quiet > 0;
    let spinner = progress::spinner(context, "building the example `hello`");
    let built = tokio::task::spawn_blocking(move || {
        let toolchain = Toolchain::ensure(&dir, &|line| say(quiet, line))?;
        build_plugin(&toolchain, &dir, &options)?;
        Ok::<(), Problem>(())
    });
    let built = joined(built.await);
    spinner.finish_and_clear();
    built??;
    Ok(out_dir)
}

/// Microseconds of one attempt, the median of five rounds.
async fn attempts(config: &Config, new: &NewTask, n_attempts: u32) -> Result<f64, Problem> {
    let registry = Registry::new();
    let sandbox = machine::sandbox(config, 2)?;
    let directory = machine::plugins(config, &sandbox, &registry).await;
    let Some(handler) = registry.handler(new.handler.as_str()) else {
        let plugins = config.run.plugins.display();
        return Err(Problem::not_found(format!(
            "no plugin in `{plugins}` has the handler `{}`",
            new.handler
        ))
        .help("build one there: pgtq build --out DIR"));
    };
    let task = Arc::new(claimed(new));
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        for _ in 0..n_attempts.div_ceil(5) {
            once(handler.as_ref(), &task).await?;
        }
        rounds.push(started.elapsed().as_secs_f64() * 1e6 / f64::from(n_attempts.div_ceil(5)));
    }
    directory.stop().await;
    rounds.sort_by(f64::total_cmp);
    Ok(rounds[2])
}

async fn once(handler: &dyn Handler, task: &Arc<Task>) -> Result<(), Problem> {
    let attempt = Attempt {
        task: Arc::clone(task),
        claim: ClaimId(0),
        signal: Arc::new(Signal::default()),
        database: Arc::new(crate::task::NoDatabase),
    };
    match handler.call(attempt).await.outcome {
        Outcome::Complete { .. } => Ok(()),
        other => Err(Problem::new(
            Exit::TaskFailed,
            format!("the handler did not complete: {other:?}"),
        )),
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
    }
}

async fn enqueue(store: &Store, task: &NewTask, n_tasks: u32) -> Result<f64, Problem> {
    let batch = vec![task.clone(); 1_000];
    let started = Instant::now();
    let mut n_left = n_tasks as usize;
    while n_left > 0 {
        let n_now = n_left.min(batch.len());
        store.push(&batch[..n_now]).await?;
        n_left -= n_now;
    }
    Ok(f64::from(n_tasks) / started.elapsed().as_secs_f64())
}

async fn drain(
    context: &Context,
    config: &Config,
    store: &Store,
    n_tasks: u32,
) -> Result<f64, Problem> {
    let until = Until {
        tasks: Some(u64::from(n_tasks)),
        ..Until::default()
    };
    let runner = Runner::start(config, store.clone(), until).await?;
    let stats = Arc::clone(&runner.stats);
    let bar = progress::bar(context, u64::from(n_tasks), "drained");
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    while stats.n_final() < u64::from(n_tasks) {
        tick.tick().await;
        bar.set_position(stats.n_final());
    }
    let seconds = stats.started.elapsed().as_secs_f64();
    bar.finish_and_clear();
    runner.stop().await?;
    Ok(f64::from(n_tasks) / seconds)
}

/// Milliseconds from push to start: median and 99th percentile.
async fn latency(
    config: &Config,
    store: &Store,
    task: &NewTask,
    args: &BenchArgs,
) -> Result<(f64, f64), Problem> {
    let runner = Runner::start(config, store.clone(), Until::default()).await?;
    let mut tick = tokio::time::interval(Duration::from_secs(1) / args.rate);
    let mut pushed = Vec::new();
    for _ in 0..args.rate * args.seconds {
        tick.tick().await;
        pushed.extend(
            store
                .push(std::slice::from_ref(task))
                .await?
                .into_iter()
                .map(|one| one.id),
        );
    }
    let mut waits = Vec::new();
    for id in pushed {
        let Some(ended) = store.wait_final(id, Some(Duration::from_secs(30))).await? else {
            return Err(Problem::failed(format!(
                "task {id} did not end within 30 s"
            )));
        };
        if let Some(started) = ended.task.started_at {
            waits.push(started.duration_since(ended.task.pushed_at).as_secs_f64() * 1e3);
        }
    }
    runner.stop().await?;
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| {
        waits
            .get(((waits.len() as f64 * share) as usize).min(waits.len().saturating_sub(1)))
            .copied()
    };
    Ok((at(0.5).unwrap_or_default(), at(0.99).unwrap_or_default()))
}
