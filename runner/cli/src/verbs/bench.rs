//! `pgtq bench`: figures of this machine, each measured while it is printed.
//!
//! One file a workload in `bench/`; the first lines of each say what it measures
//! and what its clock covers. Every workload starts in a schema of its own that
//! is dropped afterwards, counts the rows it leaves and refuses to report when a
//! task is missing or doubled.

mod backlog;
mod child;
mod cpu;
mod drain;
mod enqueue;
mod figure;
mod floor;
mod idle;
mod io;
mod latency;
mod orphans;
mod pinned;
mod push;
mod queues;
mod sandbox;
mod stage;
mod start;
mod steady;
mod swap;
mod work;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use clap::{Args, ValueEnum};

use self::figure::{Figure, Table};
use self::stage::Stage;
use crate::context::Context;
use crate::error::{Exit, Problem};
use crate::progress;
use crate::signals::Signals;

/// Measure this machine: tasks a second, latency, cost of one attempt.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Without --database-url it runs a private, durable Postgres. With it, everything happens in\nschemas named pgtq_bench_*, which are dropped at the end."
)]
pub(crate) struct BenchArgs {
    /// What to measure
    #[arg(value_enum, value_name = "WORKLOAD", default_values_t = Workload::USUAL)]
    workloads: Vec<Workload>,
    /// Every workload there is
    #[arg(long, conflicts_with = "workloads")]
    all: bool,
    /// Rounds; the median of each figure is shown, with the lowest and the highest
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    /// Measure raw SQL without handlers as well, and show the ratio
    #[arg(long)]
    baseline: bool,
    /// Tasks to push and to run
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    tasks: u32,
    /// How long `push`, `steady`, `latency`, `swap`, `sandbox` and `idle` go on
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Pushes a second in `latency`, `steady` and `io`
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Connections that push at once in `push`
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    clients: u32,
    /// Runners, each with connections and a sandbox of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    runners: u32,
    /// Attempts at once in each runner [default: 4 per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    slots: Option<u32>,
    /// Hold an old snapshot during `drain` and `steady`
    #[arg(long, value_enum, value_name = "KIND")]
    pin: Option<PinKind>,
    /// Tasks that wait, or are scheduled, in `backlog`; of an unknown handler in `orphans`
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    backlog: u32,
    /// Queues in `queues`
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    queues: u32,
    /// New versions in `swap`, spread over its time
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    swaps: u32,
    /// Handlers that wait at once in `io`
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    waiting: u32,
    /// Plugin files in `idle` and `start`
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    files: u32,
    /// Threads, and then processes, in `sandbox`, one after the other
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = [1, 2], value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: Vec<u32>,
    /// How much each kernel does in `cpu`
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    work: u32,
    /// The handler to run
    #[arg(long, value_name = "NAME", default_value = "add_numbers")]
    handler: String,
    /// Its arguments
    #[arg(long, value_name = "JSON", default_value = r#"{"a":2,"b":3}"#)]
    args: String,
    /// Directory with its .wasm file; unset builds the examples `hello` and `kernels`
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Run attempts of this file when a line comes in, and print how many
    #[arg(long, value_name = "FILE", hide = true)]
    child: Option<PathBuf>,
}

/// One thing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Bulk pushes from one connection
    Enqueue,
    /// One task a transaction from many connections, while runners are busy
    Push,
    /// A backlog to its last durable ending
    Drain,
    /// An offered rate: how deep the queue gets
    Steady,
    /// Single pushes on an idle runner: push to start
    Latency,
    /// `drain` under an old snapshot, of a reader and of a writer
    Pinned,
    /// `drain` with many more tasks waiting, or scheduled
    Backlog,
    /// `drain` from many queues
    Queues,
    /// `drain` with tasks of an unknown handler in front
    Orphans,
    /// Hot swaps under load
    Swap,
    /// One attempt without a database, in its parts; threads against processes
    Sandbox,
    /// Compute-bound handlers against the same code native
    Cpu,
    /// Many handlers waiting at once, and what others feel of it
    Io,
    /// Memory and processor of a runner that does nothing
    Idle,
    /// From the start of a process to its first claim
    Start,
}

/// Who holds an old snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PinKind {
    /// A backup, say
    Read,
    /// A forgotten session that wrote
    Write,
}

impl BenchArgs {
    /// The most threads that are asked for.
    fn threads(&self) -> u32 {
        self.threads.iter().copied().max().unwrap_or(1)
    }
}

type Round<'a> = Pin<Box<dyn Future<Output = Result<Vec<Figure>, Problem>> + 'a>>;

impl Workload {
    /// What is measured when nobody says what.
    const USUAL: [Workload; 4] = [
        Workload::Enqueue,
        Workload::Drain,
        Workload::Latency,
        Workload::Sandbox,
    ];

    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Measures once. Boxed: the futures are large and of fifteen types.
    fn round<'a>(self, stage: &'a Stage<'_>) -> Round<'a> {
        match self {
            Workload::Enqueue => Box::pin(enqueue::round(stage)),
            Workload::Push => Box::pin(push::round(stage)),
            Workload::Drain => Box::pin(drain::round(stage)),
            Workload::Steady => Box::pin(steady::round(stage)),
            Workload::Latency => Box::pin(latency::round(stage)),
            Workload::Pinned => Box::pin(pinned::round(stage)),
            Workload::Backlog => Box::pin(backlog::round(stage)),
            Workload::Queues => Box::pin(queues::round(stage)),
            Workload::Orphans => Box::pin(orphans::round(stage)),
            Workload::Swap => Box::pin(swap::round(stage)),
            Workload::Sandbox => Box::pin(sandbox::round(stage)),
            Workload::Cpu => Box::pin(cpu::round(stage)),
            Workload::Io => Box::pin(io::round(stage)),
            Workload::Idle => Box::pin(idle::round(stage)),
            Workload::Start => Box::pin(start::round(stage)),
        }
    }
}

pub(crate) async fn run(args: BenchArgs, context: &Context) -> Result<(), Problem> {
    if let Some(file) = &args.child {
        return child::serve(&args, file, context).await;
    }
    if cfg!(debug_assertions) {
        context.warn("this pgtq was built without optimisation: its figures mean nothing");
    }
    let mut signals = Signals::catch()?;
    let stage = tokio::select! {
        stage = Box::pin(Stage::set(args, context)) => stage?,
        name = signals.next() => return Err(left(name)),
    };
    let measured = tokio::select! {
        measured = measure(&stage) => measured,
        name = signals.next() => Err(left(name)),
    };
    let removed = stage.remove().await;
    let table = measured?;
    removed?;
    tokio::select! {
        printed = table.print(context) => printed,
        name = signals.next() => Err(left(name)),
    }
}

async fn measure(stage: &Stage<'_>) -> Result<Table, Problem> {
    let mut table = Table::new(stage.facts().await?);
    let workloads = match stage.args.all {
        true => Workload::value_variants(),
        false => &stage.args.workloads,
    };
    for workload in workloads {
        let name = workload.name();
        for number in 1..=stage.args.repeat {
            let text = format!("{name} {number}/{}", stage.args.repeat);
            let spinner = progress::spinner(stage.context, text);
            let figures = workload.round(stage).await;
            spinner.finish_and_clear();
            table.add(&name, figures?);
        }
        for line in table.lines_of(&name) {
            stage.context.note(line);
        }
    }
    Ok(table)
}

fn left(signal: &str) -> Problem {
    Problem::new(
        Exit::Interrupted,
        format!("{signal}: nothing was reported; what was made is removed"),
    )
}
