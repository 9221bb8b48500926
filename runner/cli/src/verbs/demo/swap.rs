//! A hot swap under load: `hello` is replaced while its tasks are queued.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::guide::Guide;
use super::stage::DemoEnvironment;
use crate::error::Problem;
use crate::{machine, text};
use pgtq_engine::plugin;
use pgtq_store::Filter;
use pgtq_task::{Digest, Name, NewTask, State};

/// Minimum number of waiting tasks until the swap is done.
const BACKLOG: u64 = 2_000;
/// Tasks per push that refills the backlog.
const WAVE: u64 = 1_000;
/// Tasks pushed after the new version is live.
const AFTER: u64 = 1_000;
/// Time limit of the swap. Loading takes seconds in an unoptimized build.
const LIMIT: Duration = Duration::from_secs(180);

/// The result of the swap.
pub(crate) struct Swap {
    pub(crate) pushed: u64,
    pub(crate) lost: u64,
    pub(crate) failed: u64,
    /// Number of tasks by the version in their result.
    pub(crate) by_version: BTreeMap<String, u64>,
    /// Time from the installation of the file until its handlers run tasks.
    pub(crate) live_after: Duration,
}

/// Replaces the plugin while tasks are pushed, then counts the results.
pub(crate) async fn run(guide: Guide<'_>, stage: &DemoEnvironment) -> Result<Swap, Problem> {
    guide
        .begin("hot swap: `hello` is replaced while its tasks are queued, without a restart")
        .await?;
    let greet = Name::new("greet")?;
    let all = Filter {
        handler: Some("greet".to_owned()),
        ..Filter::default()
    };
    let stats = &stage.runner.stats;
    let before = stats.n_final();
    let mut pushed = push(stage, &greet, BACKLOG).await?;
    let digest = Digest::of(&machine::read(&stage.next_hello)?);
    let installed = tokio::task::block_in_place(|| {
        let own = plugin::InstallAs::default();
        plugin::install(&stage.plugins, &stage.next_hello, own, |_| Ok(()))
    })?;
    let started = Instant::now();
    while !serves(stage, digest) {
        match waiting(pushed, stats.n_final() - before) < BACKLOG {
            true => pushed += push(stage, &greet, WAVE).await?,
            false => tokio::time::sleep(Duration::from_millis(5)).await,
        }
        if started.elapsed() > LIMIT {
            return Err(Problem::failed(format!(
                "{} did not go live",
                installed.file.display()
            )));
        }
    }
    let live_after = started.elapsed();
    let queued = waiting(pushed, stats.n_final() - before);
    pushed += push(stage, &greet, AFTER).await?;
    let ended = Filter {
        states: vec![State::Complete, State::Failed, State::Cancelled],
        ..all.clone()
    };
    let mut n_ended = 0;
    while n_ended < pushed && started.elapsed() < LIMIT {
        tokio::time::sleep(Duration::from_millis(50)).await;
        n_ended = stage.store.count(&ended).await?;
    }
    let failed = Filter {
        states: vec![State::Failed],
        ..all.clone()
    };
    let swap = Swap {
        pushed,
        lost: pushed.saturating_sub(n_ended),
        failed: stage.store.count(&failed).await?,
        by_version: versions(stage, all).await?,
        live_after,
    };
    let counts: Vec<String> = swap
        .by_version
        .iter()
        .map(|(version, n)| format!("{} ran on version {version}", text::count(*n)))
        .collect();
    guide
        .done(
            format!(
                "{}, {} failed, {} lost",
                counts.join(", "),
                swap.failed,
                swap.lost
            ),
            format!(
                "live {} after the file was installed, with {} tasks waiting",
                text::fine(live_after),
                text::count(queued)
            ),
        )
        .await?;
    match swap.lost + swap.failed {
        0 => Ok(swap),
        _ => Err(Problem::failed(
            "tasks were lost or failed during the hot swap",
        )),
    }
}

fn waiting(pushed: u64, ended: u64) -> u64 {
    pushed.saturating_sub(ended)
}

fn serves(stage: &DemoEnvironment, digest: Digest) -> bool {
    let snapshot = stage.runner.registry.snapshot();
    snapshot
        .plugins
        .iter()
        .any(|plugin| plugin.serving == Some(digest))
}

async fn push(stage: &DemoEnvironment, greet: &Name, n: u64) -> Result<u64, Problem> {
    let tasks: Vec<NewTask> = (0..n)
        .map(|i| NewTask::new(greet.clone(), format!("{{\"name\":\"number {i}\"}}")))
        .collect();
    stage.store.push(&tasks).await?;
    Ok(n)
}

/// Counts results by the version in them.
async fn versions(stage: &DemoEnvironment, all: Filter) -> Result<BTreeMap<String, u64>, Problem> {
    let mut counts = BTreeMap::new();
    let mut page = Filter {
        states: vec![State::Complete],
        limit: 5_000,
        ..all
    };
    loop {
        let tasks = stage.store.tasks(&page).await?;
        let Some(last) = tasks.last() else {
            return Ok(counts);
        };
        page.before = Some(last.id);
        for task in &tasks {
            let result: Value = task
                .result
                .as_deref()
                .and_then(|text| serde_json::from_str(text).ok())
                .unwrap_or_default();
            let version = result
                .get("version")
                .and_then(Value::as_str)
                .unwrap_or("unknown");
            *counts.entry(version.to_owned()).or_default() += 1;
        }
    }
}
