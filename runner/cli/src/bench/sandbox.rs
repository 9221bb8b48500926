//! `sandbox`: measures one attempt without a database, and its phases. Then runs attempts
//! for `--seconds` on each number of `--threads` in one process, and in as many processes
//! with one thread each. The difference is the cost of state that threads share.

use std::time::{Duration, Instant};

use super::child::{BenchHandler, file_of, processes};
use super::figure::{Figure, median};
use super::stage::BenchEnvironment;
use super::work;
use crate::error::Problem;
use pgtq_sandbox::Phases;

/// Number of measured attempts.
const SAMPLES: usize = 2_000;

/// Measures once.
pub async fn round(stage: &BenchEnvironment<'_>) -> Result<Vec<Figure>, Problem> {
    let file = file_of(&stage.config, stage.task.handler.as_str()).await?;
    let most = stage.options.threads.iter().copied().max().unwrap_or(1);
    let loaded = BenchHandler::load(&stage.config, &file, &stage.task, most).await?;
    let mut figures = parts(&loaded).await?;
    for &threads in &stage.options.threads {
        let time = Duration::from_secs(stage.options.seconds.into());
        let inside = loaded.on_threads(threads, time).await?;
        let apart = processes(stage, &file, threads).await?;
        figures.extend([
            Figure::new(format!("{threads} threads"), inside, "attempts/s"),
            Figure::new(format!("{threads} processes"), apart, "attempts/s"),
            work::ratio(&format!("{threads} threads to processes"), inside, apart).target("≥ 0.9"),
        ]);
    }
    Ok(figures)
}

async fn parts(loaded: &BenchHandler) -> Result<Vec<Figure>, Problem> {
    let mut samples: Vec<Phases> = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        samples.push(loaded.phases().await?);
    }
    let mut whole = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let started = Instant::now();
        loaded.once().await?;
        whole.push(started.elapsed().as_secs_f64() * 1e6);
    }
    let part = |what: &str, pick: fn(&Phases) -> Duration| {
        let times: Vec<f64> = samples
            .iter()
            .map(|one| pick(one).as_secs_f64() * 1e6)
            .collect();
        Figure::new(what, median(&times), "µs")
    };
    Ok(vec![
        Figure::new("attempt", median(&whole), "µs").target("≤ 15"),
        part("instantiate", |one| one.instantiate),
        part("call", |one| one.call),
        part("teardown", |one| one.teardown),
    ])
}
