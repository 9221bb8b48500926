//! `swap`: a queue with a constant depth of `--tasks` for `--seconds`, first without swaps,
//! then with `--swaps` new versions of the plugin file. All versions are compiled before, so
//! that the cache is warm. Measures the time from the installation of a file until its
//! handlers serve, and the cost in throughput.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pgtq::bench::{
    BenchEnvironment, Field, Figure, Problem, Runners, file_of, load, median, new_sandbox, work,
};
use pgtq::config::Config;
use pgtq_engine::plugin::{self, Registry};
use pgtq_task::Digest;

use crate::args::LabArgs;
use crate::scratch;
use crate::start::versions;

/// The timeout of a swap.
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) async fn round(
    stage: &BenchEnvironment<'_>,
    args: &LabArgs,
) -> Result<Vec<Figure>, Problem> {
    let file = file_of(&stage.config, stage.task.handler.as_str()).await?;
    let files = versions(
        &file,
        &scratch::directory(stage, "versions")?,
        args.swaps + 1,
    )?;
    let mut config = stage.config.clone();
    config.run.plugins = scratch::directory(stage, "served")?;
    let place = config.run.plugins.join("served.wasm");
    // Loads each version once, to fill the cache.
    let sandbox = new_sandbox(&config, 1)?;
    for file in &files {
        load(&sandbox, file).await?;
    }
    let left_alone = busy(stage, &config, &place, &files[..1]).await?;
    let swapped = busy(stage, &config, &place, &files).await?;
    let took: Vec<f64> = swapped
        .live_after
        .iter()
        .map(|took| took.as_secs_f64() * 1e3)
        .collect();
    Ok(vec![
        Figure::new("left alone", left_alone.rate, "tasks/s"),
        Figure::new("swapped", swapped.rate, "tasks/s"),
        work::ratio("ratio to left alone", swapped.rate, left_alone.rate).target("≥ 0.95"),
        Figure::new("swaps", took.len() as f64, "swaps"),
        Figure::new("save to live, median", median(&took), "ms"),
        Figure::new(
            "save to live, slowest",
            took.iter().copied().fold(0.0, f64::max),
            "ms",
        )
        .target("≤ 500"),
    ])
}

struct Busy {
    rate: f64,
    live_after: Vec<Duration>,
}

/// Keeps the queue full while the versions are installed.
async fn busy(
    stage: &BenchEnvironment<'_>,
    config: &Config,
    place: &Path,
    files: &[PathBuf],
) -> Result<Busy, Problem> {
    std::fs::copy(&files[0], place)?;
    let field = stage.field().await?;
    let mut pushed = u64::from(stage.options.tasks);
    work::push(&field, pushed, |_| stage.task.clone()).await?;
    let runners = field.runners_of(config).await?;
    let whole = Duration::from_secs(stage.options.seconds.into());
    let started = Instant::now();
    let feeding = feed(&field, &runners, &mut pushed, whole);
    let swapping = swap(&runners, place, &files[1..], whole);
    let (ended, live_after) = tokio::try_join!(feeding, swapping)?;
    let seconds = ended.1;
    work::reach(&runners, pushed, |_, _| ()).await?;
    tracing::debug!(took = ?started.elapsed(), "drained");
    runners.stop().await?;
    work::verify(&field.store, pushed, 0).await?;
    field.close().await?;
    Ok(Busy {
        rate: ended.0 as f64 / seconds,
        live_after,
    })
}

/// Refills the queue until the time is over. Returns the number of finished tasks and the
/// seconds.
async fn feed(
    field: &Field<'_>,
    runners: &Runners,
    pushed: &mut u64,
    whole: Duration,
) -> Result<(u64, f64), Problem> {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let deep = u64::from(field.stage.options.tasks);
    let more = deep.min(work::BATCH as u64);
    while runners.elapsed() < whole {
        tick.tick().await;
        if pushed.saturating_sub(runners.n_final()) < deep {
            work::push(field, more, |_| field.stage.task.clone()).await?;
            *pushed += more;
        }
    }
    Ok((runners.n_final(), runners.elapsed().as_secs_f64()))
}

/// Installs the files at regular intervals, and waits until each serves.
async fn swap(
    runners: &Runners,
    place: &Path,
    files: &[PathBuf],
    whole: Duration,
) -> Result<Vec<Duration>, Problem> {
    let every = whole / u32::try_from(files.len() + 1).unwrap_or(u32::MAX);
    let mut live_after = Vec::new();
    let mut tick = tokio::time::interval(every.max(Duration::from_millis(1)));
    tick.tick().await;
    let dir = place.parent().unwrap_or(Path::new("."));
    for file in files {
        tick.tick().await;
        let digest = Digest::of(&std::fs::read(file)?);
        // `install` keeps the file name, so all versions have the same name.
        let source = file.with_file_name(format!("of-{digest}"));
        std::fs::create_dir_all(&source)?;
        let named = source.join("served.wasm");
        std::fs::copy(file, &named)?;
        let own = plugin::InstallAs::default();
        tokio::task::block_in_place(|| plugin::install(dir, &named, own, |_| Ok(())))?;
        let started = Instant::now();
        let serves = |registry: &Registry| {
            let snapshot = registry.snapshot();
            let mut plugins = snapshot.plugins.iter();
            plugins.any(|plugin| plugin.serving == Some(digest))
        };
        while !runners.registries().all(serves) {
            if started.elapsed() > LIMIT {
                return Err(Problem::failed(
                    "a new version did not go live; nothing is reported",
                ));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        live_after.push(started.elapsed());
    }
    Ok(live_after)
}
