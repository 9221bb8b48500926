//! What workloads share: push a backlog, drain it with the clock running, and
//! count afterwards.

use std::time::{Duration, Instant};

use super::figure::Figure;
use super::stage::{Field, Runners};
use crate::error::Problem;
use pgtq_store::Store;
use pgtq_task::NewTask;

/// Tasks in one bulk push.
pub const BATCH: usize = 5_000;
/// How often counters are looked at while the clock runs.
const LOOK: Duration = Duration::from_millis(2);
/// A drain that stands still for so long is given up.
const STALLED: Duration = Duration::from_secs(60);

/// A push of many tasks.
pub struct Pushed {
    /// Spent in pushes.
    pub seconds: f64,
    /// Bytes that the server wrote meanwhile.
    pub wal: u64,
}

/// A backlog run to its end.
pub struct Drained {
    n_tasks: u64,
    seconds: f64,
    /// Bytes that the server wrote meanwhile.
    pub wal: u64,
    /// Processor time of this process: runners, sandbox, and this watch.
    pub processor: Duration,
    /// When each tenth of the tasks had ended, in seconds.
    tenths: Vec<f64>,
}

impl Drained {
    /// Tasks a second.
    pub fn rate(&self) -> f64 {
        self.n_tasks as f64 / self.seconds.max(1e-9)
    }

    /// Tasks a second in the first and in the last tenth.
    pub fn ends(&self) -> (f64, f64) {
        let tenth = self.n_tasks as f64 / 10.0;
        let took = |i: usize| self.tenths.get(i).copied().unwrap_or(self.seconds);
        // No finer than the watch looks.
        let least = LOOK.as_secs_f64();
        (
            tenth / took(0).max(least),
            tenth / (took(9) - took(8)).max(least),
        )
    }
}

/// Pushes `n` tasks made by `task` in batches, one transaction each.
pub async fn push(
    field: &Field<'_>,
    n: u64,
    task: impl Fn(u64) -> NewTask,
) -> Result<Pushed, Problem> {
    let wal = field.store.bench_wal().await?;
    let mut spent = Duration::ZERO;
    let mut next = 0;
    while next < n {
        let end = n.min(next + BATCH as u64);
        let batch: Vec<NewTask> = (next..end).map(&task).collect();
        let started = Instant::now();
        field.store.push(&batch).await?;
        spent += started.elapsed();
        next = end;
    }
    Ok(Pushed {
        seconds: spent.as_secs_f64(),
        wal: field.store.bench_wal().await? - wal,
    })
}

/// Starts runners, lets them end `n` tasks and stops them. The clock runs from the
/// moment the engines start, plugins loaded, to the last durable ending.
pub async fn drain(field: &Field<'_>, n: u64) -> Result<Drained, Problem> {
    field.store.bench_settle().await?;
    let wal = field.store.bench_wal().await?;
    let runners = field.runners().await?;
    let before = processor()?;
    let mut tenths = Vec::new();
    reach(&runners, n, |ended, elapsed| {
        while tenths.len() < 10 && ended >= n * (tenths.len() as u64 + 1) / 10 {
            tenths.push(elapsed);
        }
    })
    .await?;
    let seconds = runners.elapsed().as_secs_f64();
    let processor = processor()?.saturating_sub(before);
    let wal = field.store.bench_wal().await? - wal;
    let n_tasks = runners.n_final();
    runners.stop().await?;
    Ok(Drained {
        n_tasks,
        seconds,
        wal,
        processor,
        tenths,
    })
}

/// Waits until the runners have ended `n` tasks; `look` sees how many, and the time.
pub async fn reach(
    runners: &Runners,
    n: u64,
    mut look: impl FnMut(u64, f64),
) -> Result<(), Problem> {
    let mut tick = tokio::time::interval(LOOK);
    let mut last = (0, Instant::now());
    loop {
        let ended = runners.n_final();
        look(ended, runners.elapsed().as_secs_f64());
        if ended >= n {
            return Ok(());
        }
        if ended > last.0 {
            last = (ended, Instant::now());
        } else if last.1.elapsed() > STALLED {
            return Err(Problem::failed(format!(
                "only {ended} of {n} tasks finished, and none in the last {STALLED:?}; no results"
            )));
        }
        tick.tick().await;
    }
}

/// Refuses to report unless each of `ended` tasks is in history once, complete,
/// and `left` are not over.
pub async fn verify(store: &Store, ended: u64, left: u64) -> Result<(), Problem> {
    let counts = store.bench_counts().await?;
    let right = counts.ended == ended
        && counts.distinct == ended
        && counts.complete == ended
        && counts.left == left;
    match right {
        true => Ok(()),
        false => Err(Problem::failed(format!(
            "the row counts are wrong, so there are no results: expected {ended} finished tasks and {left} others, \
             but history has {} rows of {} tasks, {} of them complete, and there are {} others",
            counts.ended, counts.distinct, counts.complete, counts.left
        ))),
    }
}

/// `value / base` as a figure.
pub fn ratio(what: &str, value: f64, base: f64) -> Figure {
    Figure::new(what, value / base.max(1e-9), "x")
}

/// Processor time that this process has used.
fn processor() -> Result<Duration, Problem> {
    // SAFETY: a plain structure of numbers, for which all zeroes are legal.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: writes into the structure that it is handed and keeps no pointer.
    match unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) } {
        0 => Ok(time(usage.ru_utime) + time(usage.ru_stime)),
        _ => Err(std::io::Error::last_os_error().into()),
    }
}

fn time(value: libc::timeval) -> Duration {
    let micros = u64::try_from(value.tv_usec).unwrap_or(0);
    Duration::from_secs(value.tv_sec.unsigned_abs()) + Duration::from_micros(micros)
}
