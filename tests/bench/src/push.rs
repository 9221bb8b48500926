//! `push`: one task per transaction from `--clients` connections for `--seconds`, while
//! runners are busy with a constant backlog. With `--baseline` the same connections then
//! insert rows into a table with one index, while the runners are still busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use pgtq::bench::{BenchEnvironment, Field, Figure, Problem, Runners, work};
use pgtq_store::Store;
use pgtq_task::NewTask;

use crate::args::LabArgs;
use crate::sql::{Client, Floor};

/// The minimum depth of the backlog that keeps the runners busy.
const DEPTH: u64 = 2 * work::BATCH as u64;
/// The interval between two checks of the depth.
const CHECK_EVERY: Duration = Duration::from_millis(5);

pub(crate) async fn round(
    stage: &BenchEnvironment<'_>,
    args: &LabArgs,
) -> Result<Vec<Figure>, Problem> {
    let field = stage.field().await?;
    let mut pushers = Vec::new();
    for _ in 0..args.clients {
        pushers.push(Pusher::Task(field.connect().await?, stage.task.clone()));
    }
    let runners = field.runners().await?;
    let mut load = Load {
        field: &field,
        runners: &runners,
        pushed: Arc::default(),
    };
    let rate = load.phase(pushers).await?;
    let mut figures = vec![
        Figure::new("rate", rate.each_second, "tasks/s"),
        Figure::new("ended meanwhile", rate.ended_each_second, "tasks/s"),
    ];
    if args.baseline {
        Client::connect(&field).await?.floor_create().await?;
        let mut bare = Vec::new();
        for _ in 0..args.clients {
            let floor = Client::connect(&field).await?.floor().await?;
            bare.push(Pusher::Bare(floor, stage.options.args.clone()));
        }
        let floor = load.phase(bare).await?;
        figures.push(Figure::new("bare inserts", floor.each_second, "rows/s"));
        figures.push(Figure::new(
            "ended beside them",
            floor.ended_each_second,
            "tasks/s",
        ));
        let ratio = work::ratio("ratio to bare inserts", rate.each_second, floor.each_second);
        figures.push(ratio.target("≥ 0.9"));
    }
    let pushed = load.pushed.load(Relaxed);
    work::reach(&runners, pushed, |_, _| ()).await?;
    runners.stop().await?;
    work::verify(&field.store, pushed, 0).await?;
    field.close().await?;
    Ok(figures)
}

/// A connection, and the statement that it repeats.
enum Pusher {
    Task(Store, NewTask),
    Bare(Floor, String),
}

impl Pusher {
    /// Runs the statement once. Returns the number of pushed tasks.
    async fn push(&self) -> Result<u64, Problem> {
        match self {
            Pusher::Task(store, task) => {
                store.push(std::slice::from_ref(task)).await?;
                Ok(1)
            }
            Pusher::Bare(floor, args) => floor.insert(args, 1).await.map(|()| 0),
        }
    }
}

struct Rate {
    each_second: f64,
    ended_each_second: f64,
}

/// Busy runners, and the number of tasks pushed for them.
struct Load<'a> {
    field: &'a Field<'a>,
    runners: &'a Runners,
    pushed: Arc<AtomicU64>,
}

impl Load<'_> {
    /// Runs all clients until the time is over, and keeps the runners busy.
    async fn phase(&mut self, pushers: Vec<Pusher>) -> Result<Rate, Problem> {
        self.feed().await?;
        let whole = Duration::from_secs(self.field.stage.options.seconds.into());
        let (started, n_before) = (Instant::now(), self.runners.n_final());
        let mut clients = JoinSet::new();
        for pusher in pushers {
            let pushed = Arc::clone(&self.pushed);
            clients.spawn(async move {
                let mut n = 0_u64;
                while started.elapsed() < whole {
                    pushed.fetch_add(pusher.push().await?, Relaxed);
                    n += 1;
                }
                Ok::<u64, Problem>(n)
            });
        }
        let mut tick = tokio::time::interval(CHECK_EVERY);
        while started.elapsed() < whole {
            tick.tick().await;
            self.feed().await?;
        }
        let n_ended = self.runners.n_final() - n_before;
        let mut n = 0;
        while let Some(client) = clients.join_next().await {
            n += client.map_err(|panic| Problem::failed(panic.to_string()))??;
        }
        let seconds = started.elapsed().as_secs_f64();
        Ok(Rate {
            each_second: n as f64 / seconds,
            ended_each_second: n_ended as f64 / seconds,
        })
    }

    /// Refills the backlog.
    async fn feed(&mut self) -> Result<(), Problem> {
        let left = self.pushed.load(Relaxed);
        if left.saturating_sub(self.runners.n_final()) < DEPTH {
            let task = self.field.stage.task.clone();
            work::push(self.field, DEPTH, |_| task.clone()).await?;
            self.pushed.fetch_add(DEPTH, Relaxed);
        }
        Ok(())
    }
}
