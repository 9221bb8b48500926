//! The command line, and the functions of the workloads.

use clap::{Args, ValueEnum};
use pgtq::bench::{self, BenchEnvironment, BenchOptions, Round};

use crate::{
    backlog, cpu, drain, enqueue, idle, io, orphans, pinned, push, queues, start, steady, swap,
};

/// The options of the workloads, besides the common options.
#[derive(Debug, Clone, Args)]
pub(crate) struct LabArgs {
    /// What to measure
    #[arg(value_enum, value_name = "WORKLOAD", default_values_t = Workload::DEFAULT)]
    pub(crate) workloads: Vec<Workload>,
    /// Measure every workload
    #[arg(long, conflicts_with = "workloads")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) common: BenchOptions,
    /// Measure raw SQL without handlers as well, and show the ratio
    #[arg(long)]
    pub(crate) baseline: bool,
    /// Concurrent connections in `push`
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) clients: u32,
    /// Hold an old snapshot during `drain` and `steady`
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) pin: Option<PinKind>,
    /// Waiting or scheduled tasks in `backlog`; tasks of an unknown handler in `orphans`
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(crate) backlog: u32,
    /// Queues in `queues`
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) queues: u32,
    /// New versions in `swap`, spread over its duration
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) swaps: u32,
    /// Concurrently waiting handlers in `io`
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) waiting: u32,
    /// Plugin files in `idle` and `start`
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) files: u32,
    /// Work of each kernel in `cpu`
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(crate) work: u32,
}

/// A workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Bulk pushes from one connection
    Enqueue,
    /// One push per transaction from many connections, while runners are busy
    Push,
    /// A backlog, until the last outcome is durable
    Drain,
    /// A fixed rate of pushes: how deep the queue gets
    Steady,
    /// Single pushes to an idle runner: time from push to start
    Latency,
    /// `drain` with an old snapshot, of a reader and of a writer
    Pinned,
    /// `drain` with many more waiting or scheduled tasks
    Backlog,
    /// `drain` from many queues
    Queues,
    /// `drain` with tasks of an unknown handler in front
    Orphans,
    /// Hot swaps under load
    Swap,
    /// The parts of one attempt without a database; threads and processes
    Sandbox,
    /// Compute-bound handlers compared with native code
    Cpu,
    /// Many waiting handlers, and the latency of other tasks
    Io,
    /// Memory and processor time of an idle runner
    Idle,
    /// Time from the start of a process to its first claim
    Start,
}

impl Workload {
    /// The default workloads.
    const DEFAULT: [Workload; 4] = [
        Workload::Enqueue,
        Workload::Drain,
        Workload::Latency,
        Workload::Sandbox,
    ];
}

/// The holder of an old snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PinKind {
    /// A reader, such as a backup
    Read,
    /// A forgotten session with writes
    Write,
}

/// A workload with its options.
pub(crate) struct Measured<'l> {
    pub(crate) workload: Workload,
    pub(crate) args: &'l LabArgs,
}

impl bench::Workload for Measured<'_> {
    fn name(&self) -> String {
        let value = self.workload.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn round<'a>(&'a self, stage: &'a BenchEnvironment<'_>) -> Round<'a> {
        let args = self.args;
        match self.workload {
            Workload::Enqueue => Box::pin(enqueue::round(stage, args)),
            Workload::Push => Box::pin(push::round(stage, args)),
            Workload::Drain => Box::pin(drain::round(stage, args)),
            Workload::Steady => Box::pin(steady::round(stage, args)),
            Workload::Latency => Box::pin(bench::latency::round(stage)),
            Workload::Pinned => Box::pin(pinned::round(stage)),
            Workload::Backlog => Box::pin(backlog::round(stage, args)),
            Workload::Queues => Box::pin(queues::round(stage, args)),
            Workload::Orphans => Box::pin(orphans::round(stage, args)),
            Workload::Swap => Box::pin(swap::round(stage, args)),
            Workload::Sandbox => Box::pin(bench::sandbox::round(stage)),
            Workload::Cpu => Box::pin(cpu::round(stage, args)),
            Workload::Io => Box::pin(io::round(stage, args)),
            Workload::Idle => Box::pin(idle::round(stage, args)),
            Workload::Start => Box::pin(start::round(stage, args)),
        }
    }
}
