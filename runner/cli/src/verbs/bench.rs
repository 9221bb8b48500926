//! `pgtq bench`: measures this machine and database. The workloads are in `bench/`; the
//! package `tests/bench` has more.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::bench::{self, BenchEnvironment, BenchOptions, Round, drain, latency, sandbox};
use crate::context::Context;
use crate::error::Problem;

/// Arguments of `pgtq bench`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Without --database-url, the workloads run in a private Postgres with durable commits. With it,\nthey run in schemas named pgtq_bench_*, which are dropped at the end."
)]
pub(crate) struct BenchArgs {
    /// Workloads to run
    #[arg(value_enum, value_name = "WORKLOAD", default_values_t = WorkloadName::ALL)]
    workloads: Vec<WorkloadName>,
    #[command(flatten)]
    options: BenchOptions,
    /// Run attempts of this file for each line of standard input, and print their number
    #[arg(long, value_name = "FILE", hide = true)]
    child: Option<PathBuf>,
}

/// The values of WORKLOAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WorkloadName {
    /// Run a backlog of tasks and measure the throughput and the WAL per task
    Drain,
    /// Push single tasks at a fixed rate and measure the time from push to start
    Latency,
    /// Run attempts without a database, in threads and in processes, and measure their cost
    Sandbox,
}

impl WorkloadName {
    const ALL: [WorkloadName; 3] = [
        WorkloadName::Drain,
        WorkloadName::Latency,
        WorkloadName::Sandbox,
    ];
}

impl bench::Workload for WorkloadName {
    fn name(&self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn round<'a>(&'a self, stage: &'a BenchEnvironment<'_>) -> Round<'a> {
        match self {
            WorkloadName::Drain => Box::pin(async { drain::round(stage.field().await?).await }),
            WorkloadName::Latency => Box::pin(latency::round(stage)),
            WorkloadName::Sandbox => Box::pin(sandbox::round(stage)),
        }
    }
}

pub(crate) async fn run(args: BenchArgs, context: &Context) -> Result<(), Problem> {
    match &args.child {
        Some(file) => bench::serve(&args.options, file, context).await,
        None => bench::run(args.options, &args.workloads, &["hello"], context).await,
    }
}
