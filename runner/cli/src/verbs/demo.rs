//! `pgtq demo`: a guided tour with a real server, runner and plugins. All figures that it
//! prints are measured during the tour. Removes everything at the end.

mod broken;
mod guide;
mod load;
pub(crate) mod stage;
mod swap;

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use self::guide::Guide;
use self::stage::DemoEnvironment;
use crate::context::Context;
use crate::error::{Exit, Problem};
use crate::output::Cell;
use crate::signals::Signals;

/// Arguments of `pgtq demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Exit after the tour instead of running until Ctrl-C
    #[arg(long)]
    pub(crate) exit: bool,
    /// Number of small tasks to push, up to 1 million
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) tasks: u32,
}

pub(crate) async fn run(args: DemoArgs, context: &Context) -> Result<(), Problem> {
    let mut signals = Signals::catch()?;
    let guide = Guide { context };
    if cfg!(debug_assertions) {
        context.note(
            "this is a development build; `cargo install --path runner/cli` installs an optimized one",
        );
    }
    // Dropping an incomplete stage stops the parts that were started.
    let stage = tokio::select! {
        stage = DemoEnvironment::set(guide) => stage?,
        name = signals.next() => return Err(interrupted(name)),
    };
    let mut done = tokio::select! {
        done = show(&args, guide, &stage) => done,
        name = signals.next() => Err(interrupted(name)),
    };
    if done.is_ok() && !args.exit {
        done = tokio::select! {
            done = stay(guide, &stage) => done,
            _ = signals.next() => {
                context.note("stopping");
                Ok(())
            }
        };
    }
    tokio::select! {
        stopped = stage.stop() => done.and(stopped),
        name = signals.next() => Err(interrupted(name)),
    }
}

fn interrupted(signal: &str) -> Problem {
    let message = format!("{signal}: demo interrupted; everything it created was removed");
    Problem::new(Exit::Interrupted, message)
}

/// Runs the tour and prints its figures as JSON if requested.
async fn show(args: &DemoArgs, guide: Guide<'_>, stage: &DemoEnvironment) -> Result<(), Problem> {
    let facts = tour(args, guide, stage).await?;
    let pairs: [(&str, Cell); 0] = [];
    match guide.context.out.is_json() {
        true => {
            let text = guide
                .context
                .out
                .render_one("pgtq.demo/v1", "demo", &pairs, &facts);
            guide.context.out.send(text).await
        }
        false => Ok(()),
    }
}

async fn tour(
    args: &DemoArgs,
    guide: Guide<'_>,
    stage: &DemoEnvironment,
) -> Result<Value, Problem> {
    let load = load::run(guide, stage, args.tasks).await?;
    let latency = load::latency(guide, stage).await?;
    let swap = swap::run(guide, stage).await?;
    let broken = broken::run(guide, stage).await?;
    load::results(guide, stage, &load).await?;
    Ok(json!({
        "tasks": load.pushed, "failed": load.failed, "seconds": load.seconds.as_secs_f64(),
        "tasks_per_second": load.rate(),
        "start_p50_ms": milliseconds(latency.start_p50), "start_p99_ms": milliseconds(latency.start_p99),
        "result_p50_ms": milliseconds(latency.result_p50),
        "swap": {
            "tasks": swap.pushed, "by_version": swap.by_version, "lost": swap.lost,
            "failed": swap.failed, "save_to_live_ms": milliseconds(swap.live_after),
        },
        "broken": {"reason": broken.reason, "serving": broken.serving},
    }))
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Prints what to try next, and returns when the runner stops unexpectedly.
async fn stay(guide: Guide<'_>, stage: &DemoEnvironment) -> Result<(), Problem> {
    guide
        .begin("the demo keeps running; in another terminal, try:")
        .await?;
    guide
        .detail(format!("export DATABASE_URL='{}'", stage.url))
        .await?;
    guide.detail("pgtq push greet name=You --wait").await?;
    guide
        .detail("pgtq tasks -n 5 ;  pgtq stats ;  pgtq plugins")
        .await?;
    guide
        .detail("psql \"$DATABASE_URL\" -c \"select pgtq.push('add_numbers', '[2,3]')\"")
        .await?;
    guide
        .detail(format!(
            "cp other.wasm {}/      (loaded without a restart)",
            stage.plugins.display()
        ))
        .await?;
    guide
        .begin("to start your own queue: pgtq new media && cd media && pgtq dev")
        .await?;
    guide
        .begin("press Ctrl-C to stop the demo and remove its files")
        .await?;
    stage.ended().await;
    guide.context.warn("the runner stopped unexpectedly");
    Ok(())
}
