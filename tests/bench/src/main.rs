//! The benchmarks of pgtq: all workloads.
//!
//! `cargo run --release -p pgtq-bench -- WORKLOAD`. Each workload is one file, whose header
//! says what is measured and timed. The common code, and the workloads `drain`, `latency`
//! and `sandbox`, are in `pgtq::bench`. SQL of this crate is in `sql.rs`.

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

/// The verbs for which this program starts itself and acts as `pgtq`: to compile plugins, to
/// run a runner, and as a process of `sandbox`.
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
