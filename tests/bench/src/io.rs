//! `io`: `--waiting` handlers that wait concurrently in one runner, and the latency of single
//! pushes to another queue of the same runner, without and with the waiting handlers.

use serde_json::json;

use pgtq::bench::{BenchEnvironment, Figure, Problem, latency, work};
use pgtq::config::QueueSlots;
use pgtq_task::{Name, NewTask};

use crate::args::LabArgs;
use crate::scratch;

/// The handlers wait longer than the measurement, because they need time to start: this many
/// seconds, and one more per `STARTED_EACH_SECOND` handlers.
const SPARE: u64 = 2;
const STARTED_EACH_SECOND: u64 = 250;

pub(crate) async fn round(
    stage: &BenchEnvironment<'_>,
    args: &LabArgs,
) -> Result<Vec<Figure>, Problem> {
    scratch::plugin(stage, "kernels")?;
    let crowd = Name::new("crowd")?;
    let n_waiting = u64::from(args.waiting);
    let mut config = stage.config.clone();
    let others = stage
        .options
        .slots
        .unwrap_or_else(pgtq_engine::default_slots);
    config.run.queues = vec![slots(Some(&crowd), args.waiting), slots(None, others)];
    let mut figures = Vec::new();
    for (what, n_waiting) in [("alone", 0), ("in the crowd", n_waiting)] {
        let field = stage.field().await?;
        let runners = field.runners_of(&config).await?;
        let ms =
            (u64::from(stage.options.seconds) + SPARE + n_waiting / STARTED_EACH_SECOND) * 1_000;
        let wait = NewTask {
            queue: Some(crowd.clone()),
            ..NewTask::new(Name::new("kernel.wait")?, json!({ "ms": ms }).to_string())
        };
        work::push(&field, n_waiting, |_| wait.clone()).await?;
        let mut most = 0;
        // Until all of them wait; in a runner that is too slow they finish first.
        while runners.n_running() < n_waiting && runners.n_final() < n_waiting {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            most = most.max(runners.n_running());
        }
        most = most.max(runners.n_running());
        let n = latency::singles(&field, &stage.task).await?;
        let still = runners.n_running();
        work::reach(&runners, n + n_waiting, |_, _| ()).await?;
        runners.stop().await?;
        work::verify(&field.store, n + n_waiting, 0).await?;
        let waits = latency::figures(&field, &stage.task.handler).await?;
        figures.extend(waits.into_iter().map(|mut figure| {
            figure.what = format!("{what}, {}", figure.what);
            figure
        }));
        if n_waiting > 0 {
            figures.push(Figure::new("waiting at once", most as f64, "handlers"));
            figures.push(Figure::new(
                "still waiting at the end",
                still.min(n_waiting) as f64,
                "handlers",
            ));
        }
        field.close().await?;
    }
    Ok(figures)
}

/// The slots of a queue; `None` means every other queue.
fn slots(queue: Option<&Name>, slots: u32) -> QueueSlots {
    QueueSlots {
        queue: queue.cloned(),
        slots: Some(slots),
    }
}
