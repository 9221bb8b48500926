//! The benchmark framework of `pgtq bench` and of the package `tests/bench`: a stage with a
//! database and plugins, runners, and figures with their table.
//!
//! Every measurement runs in a separate schema that is dropped afterwards. A workload
//! counts the rows of its tasks and reports nothing if a task is missing or duplicated.
//! This module is not a stable interface.

mod child;
pub mod drain;
mod figure;
pub mod latency;
pub mod sandbox;
mod stage;
pub mod work;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use clap::Args;

pub use self::child::{Loaded, file_of};
pub use self::figure::{Figure, median};
pub use self::stage::{Field, Runners, Stage};
pub use crate::context::Context;
pub use crate::error::Problem;
pub use crate::global_args::GlobalArgs;
pub use crate::machine::{load, sandbox as new_sandbox};
pub use crate::process::run as program;

pub(crate) use self::child::serve;

use self::figure::Table;
use crate::error::Exit;
use crate::progress;
use crate::signals::Signals;

/// Options of all workloads.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Number of rounds, up to 100; the table shows the median, lowest and highest of each figure
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeat: u32,
    /// Number of tasks to push and run, up to 10 million
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub tasks: u32,
    /// Duration in seconds of workloads that run for a fixed time, such as `latency` and `sandbox`
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,
    /// Pushes per second in workloads with a fixed rate, such as `latency`
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Number of runners, up to 16, each with its own connections and sandbox
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub runners: u32,
    /// Concurrent attempts per runner, up to 10000 [default: 4 per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub slots: Option<u32>,
    /// Numbers of threads, and then of processes, that `sandbox` measures in turn
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = [1, 2], value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: Vec<u32>,
    /// Handler to run
    #[arg(long, value_name = "NAME", default_value = "add_numbers")]
    pub handler: String,
    /// Arguments of the handler
    #[arg(long, value_name = "JSON", default_value = r#"{"a":2,"b":3}"#)]
    pub args: String,
    /// Directory of the handler's .wasm file [default: build an example plugin]
    #[arg(long, value_name = "DIR")]
    pub plugins: Option<PathBuf>,
}

/// The figures of one measurement. Boxed: the futures are large and of many types.
pub type Round<'a> = Pin<Box<dyn Future<Output = Result<Vec<Figure>, Problem>> + 'a>>;

/// One thing to measure.
pub trait Workload {
    /// The name on the command line and in the table.
    fn name(&self) -> String;

    /// Measures once.
    fn round<'a>(&'a self, stage: &'a Stage<'_>) -> Round<'a>;
}

/// Measures all workloads and prints their figures. `examples` are the plugins to build if
/// the options name no directory.
pub async fn run(
    options: Options,
    workloads: &[impl Workload],
    examples: &'static [&'static str],
    context: &Context,
) -> Result<(), Problem> {
    if cfg!(debug_assertions) {
        context.warn("this pgtq was built without optimization; its figures are meaningless");
    }
    let mut signals = Signals::catch()?;
    let stage = tokio::select! {
        stage = Box::pin(Stage::set(options, examples, context)) => stage?,
        name = signals.next() => return Err(interrupted(name)),
    };
    let measured = tokio::select! {
        measured = measure(&stage, workloads) => measured,
        name = signals.next() => Err(interrupted(name)),
    };
    let removed = stage.remove().await;
    let table = measured?;
    removed?;
    tokio::select! {
        printed = table.print(context) => printed,
        name = signals.next() => Err(interrupted(name)),
    }
}

async fn measure(stage: &Stage<'_>, workloads: &[impl Workload]) -> Result<Table, Problem> {
    let mut table = Table::new(stage.facts().await?);
    for workload in workloads {
        let name = workload.name();
        for number in 1..=stage.options.repeat {
            let text = format!("{name} {number}/{}", stage.options.repeat);
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

fn interrupted(signal: &str) -> Problem {
    Problem::new(
        Exit::Interrupted,
        format!(
            "{signal}: benchmark interrupted without results; everything it created was removed"
        ),
    )
}
