//! `pgtq bench`: measures this machine and database. The workloads are in `bench/`; the
//! package `tests/bench` has more.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::bench::{self, Options, Round, Stage, drain, latency, sandbox};
use crate::context::Context;
use crate::error::Problem;

/// Arguments of `pgtq bench`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Without --database-url, the workloads run in a private Postgres with durable commits. With it,\nthey run in schemas named pgtq_bench_*, which are dropped at the end."
)]
pub(crate) struct BenchArgs {
    /// Workloads to run
    #[arg(value_enum, value_name = "WORKLOAD", default_values_t = Workload::ALL)]
    workloads: Vec<Workload>,
    #[command(flatten)]
    options: Options,
    /// Run attempts of this file for each line of standard input, and print their number
    #[arg(long, value_name = "FILE", hide = true)]
    child: Option<PathBuf>,
}

/// The values of WORKLOAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Run a backlog of tasks and measure the throughput and the WAL per task
    Drain,
    /// Push single tasks at a fixed rate and measure the time from push to start
    Latency,
    /// Run attempts without a database, in threads and in processes, and measure their cost
    Sandbox,
}

impl Workload {
    const ALL: [Workload; 3] = [Workload::Drain, Workload::Latency, Workload::Sandbox];
}

impl bench::Workload for Workload {
    fn name(&self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn round<'a>(&'a self, stage: &'a Stage<'_>) -> Round<'a> {
        match self {
            Workload::Drain => Box::pin(async { drain::round(stage.field().await?).await }),
            Workload::Latency => Box::pin(latency::round(stage)),
            Workload::Sandbox => Box::pin(sandbox::round(stage)),
        }
    }
}

pub(crate) async fn run(args: BenchArgs, context: &Context) -> Result<(), Problem> {
    match &args.child {
        Some(file) => bench::serve(&args.options, file, context).await,
        None => bench::run(args.options, &args.workloads, &["hello"], context).await,
    }
}
