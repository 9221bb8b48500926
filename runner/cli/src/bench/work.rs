//! Steps that workloads share: push a backlog, measure its drain, and verify the counts.

use std::time::{Duration, Instant};

use super::figure::Figure;
use super::stage::{Field, Runners};
use crate::error::Problem;
use pgtq_store::Store;
use pgtq_task::NewTask;

/// Tasks in one bulk push.
pub const BATCH: usize = 5_000;
/// Polling interval of counters during a measurement.
const POLL: Duration = Duration::from_millis(2);
/// Time without progress after which a drain fails.
const STALLED: Duration = Duration::from_secs(60);

/// A push of many tasks.
pub struct BulkPush {
    /// Time spent in pushes.
    pub seconds: f64,
    /// WAL bytes written meanwhile.
    pub wal: u64,
}

/// A drained backlog.
pub struct Drained {
    n_tasks: u64,
    seconds: f64,
    /// WAL bytes written meanwhile.
    pub wal: u64,
    /// Processor time of this process: runners, sandbox and measurement.
    pub processor: Duration,
    /// Time in seconds at which each tenth of the tasks had finished.
    tenths: Vec<f64>,
}

impl Drained {
    /// Tasks per second.
    pub fn rate(&self) -> f64 {
        self.n_tasks as f64 / self.seconds.max(1e-9)
    }

    /// Tasks per second in the first and in the last tenth.
    pub fn ends(&self) -> (f64, f64) {
        let tenth = self.n_tasks as f64 / 10.0;
        let took = |i: usize| self.tenths.get(i).copied().unwrap_or(self.seconds);
        // The resolution is the polling interval.
        let least = POLL.as_secs_f64();
        (
            tenth / took(0).max(least),
            tenth / (took(9) - took(8)).max(least),
        )
    }
}

/// Pushes `n` tasks in batches of one transaction each.
pub async fn push(
    field: &Field<'_>,
    n: u64,
    task: impl Fn(u64) -> NewTask,
) -> Result<BulkPush, Problem> {
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
    Ok(BulkPush {
        seconds: spent.as_secs_f64(),
        wal: field.store.bench_wal().await? - wal,
    })
}

/// Starts runners, waits until they have finished `n` tasks and stops them. Measures from
/// the start of the engines, with plugins loaded, to the last durable outcome.
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

/// Waits until the runners have finished `n` tasks. Calls `observe` with the number of
/// finished tasks and the time.
pub async fn reach(
    runners: &Runners,
    n: u64,
    mut observe: impl FnMut(u64, f64),
) -> Result<(), Problem> {
    let mut tick = tokio::time::interval(POLL);
    let mut last = (0, Instant::now());
    loop {
        let ended = runners.n_final();
        observe(ended, runners.elapsed().as_secs_f64());
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

/// Fails unless history contains each of `ended` tasks once, as complete, and `left` tasks
/// are not finished.
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
    // SAFETY: the struct consists of integers, for which zero is valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the call fills the struct and keeps no pointer.
    match unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) } {
        0 => Ok(time(usage.ru_utime) + time(usage.ru_stime)),
        _ => Err(std::io::Error::last_os_error().into()),
    }
}

fn time(value: libc::timeval) -> Duration {
    let micros = u64::try_from(value.tv_usec).unwrap_or(0);
    Duration::from_secs(value.tv_sec.unsigned_abs()) + Duration::from_micros(micros)
}
