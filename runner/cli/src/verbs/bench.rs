//! `pgtq bench`: figures of this machine and database, each measured while it is printed.
//! The workloads themselves are in `bench/`; more of them are in `tests/bench`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::bench::{self, Options, Round, Stage, drain, latency, sandbox};
use crate::context::Context;
use crate::error::Problem;

/// Measure this machine: tasks a second, latency, cost of one attempt.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Without --database-url it runs a private, durable Postgres. With it, everything happens in\nschemas named pgtq_bench_*, which are dropped at the end."
)]
pub(crate) struct BenchArgs {
    /// What to measure
    #[arg(value_enum, value_name = "WORKLOAD", default_values_t = Workload::ALL)]
    workloads: Vec<Workload>,
    #[command(flatten)]
    options: Options,
    /// Run attempts of this file when a line comes in, and print how many
    #[arg(long, value_name = "FILE", hide = true)]
    child: Option<PathBuf>,
}

/// What an operator measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// A backlog to its last durable ending
    Drain,
    /// Single pushes on an idle runner: push to start
    Latency,
    /// One attempt without a database, in its parts; threads against processes
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
