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
mod options;
pub mod sandbox;
mod stage;
pub mod work;

use std::future::Future;
use std::pin::Pin;

pub use self::child::{BenchHandler, file_of};
pub use self::figure::{Figure, median};
pub use self::options::BenchOptions;
pub use self::stage::{BenchEnvironment, Field, Runners};
pub use crate::context::Context;
pub use crate::error::Problem;
pub use crate::global::GlobalArgs;
pub use crate::machine::{load, sandbox as new_sandbox};

pub(crate) use self::child::serve;

use self::figure::Table;
use crate::error::Exit;
use crate::progress;
use crate::signals::Signals;

/// The figures of one measurement. Boxed: the futures are large and of many types.
pub type Round<'a> = Pin<Box<dyn Future<Output = Result<Vec<Figure>, Problem>> + 'a>>;

/// One thing to measure.
pub trait Workload {
    /// The name on the command line and in the table.
    fn name(&self) -> String;

    /// Measures once.
    fn round<'a>(&'a self, stage: &'a BenchEnvironment<'_>) -> Round<'a>;
}

/// Measures all workloads and prints their figures. `examples` are the plugins to build if
/// the options name no directory.
pub async fn run(
    options: BenchOptions,
    workloads: &[impl Workload],
    examples: &'static [&'static str],
    context: &Context,
) -> Result<(), Problem> {
    if cfg!(debug_assertions) {
        context.warn("this pgtq was built without optimization; its figures are meaningless");
    }
    let mut signals = Signals::catch()?;
    let stage = tokio::select! {
        stage = Box::pin(BenchEnvironment::set(options, examples, context)) => stage?,
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

async fn measure(
    stage: &BenchEnvironment<'_>,
    workloads: &[impl Workload],
) -> Result<Table, Problem> {
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
