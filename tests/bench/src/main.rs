//! The laboratory: every workload that pgtq is measured with.
//!
//! `cargo run --release -p pgtq-bench -- WORKLOAD`. One file a workload; the first lines
//! of each say what it measures and what its clock covers. What they stand on, and the
//! workloads `drain`, `latency` and `sandbox`, are in `pgtq::bench`. Own SQL is in `sql.rs`.

mod args;
mod backlog;
mod cpu;
mod drain;
mod enqueue;
mod floor;
mod idle;
mod io;
mod orphans;
mod pinned;
mod plain;
mod push;
mod queues;
mod scratch;
mod sql;
mod start;
mod steady;
mod swap;

use std::process::ExitCode;

use clap::{Parser, ValueEnum as _};
use pgtq::bench::{self, GlobalArgs};

use crate::args::{LabArgs, Measured, Workload};

/// Measure pgtq on this machine: every workload.
#[derive(Debug, Parser)]
#[command(
    name = "pgtq-bench",
    max_term_width = 100,
    after_help = "Without --database-url it runs a private, durable Postgres. With it, everything happens in\nschemas named pgtq_bench_*, which are dropped at the end."
)]
struct Root {
    #[command(flatten)]
    args: LabArgs,
    #[command(flatten)]
    global: GlobalArgs,
}

/// What this program starts itself for: to compile plugins, to run one, to be one of many
/// processes in `sandbox`. Then it is `pgtq`.
const PGTQ: [&str; 3] = ["compile-plugin", "run", "bench"];

fn main() -> ExitCode {
    let first = std::env::args().nth(1);
    if first.is_some_and(|first| PGTQ.contains(&&*first)) {
        return pgtq::main();
    }
    let Root { args, global } = Root::parse();
    pgtq::run(global, 1, async move |context| {
        let all = Workload::value_variants();
        let wanted = if args.all { all } else { &args.workloads };
        let measured: Vec<Measured<'_>> = wanted
            .iter()
            .map(|&workload| Measured {
                workload,
                args: &args,
            })
            .collect();
        bench::run(
            args.common.clone(),
            &measured,
            &["hello", "kernels"],
            context,
        )
        .await
    })
}
