//! `cpu`: three compute-bound kernels of the plugin `kernels`, with fuel, compared with the
//! same source compiled into this program. The guest's time is that of the whole attempt.
//! Both must return the same result. An unoptimized build has no meaningful result, because
//! only the native code is slow.

use std::hint::black_box;
use std::time::Instant;

use serde_json::json;

use pgtq::bench::{BenchEnvironment, BenchHandler, Figure, Problem, median, work};
use pgtq_task::{Name, NewTask, Outcome};

use crate::args::LabArgs;
use crate::scratch;

#[expect(
    unreachable_pub,
    reason = "the plugin's own file, where they are public"
)]
#[path = "../../../plugins/kernels/src/work.rs"]
mod kernels;

/// The number of runs, of which the median is used.
const TIMES: usize = 5;

type Kernel = (&'static str, fn(u64) -> u64, u64);

/// Names, functions, and the work of each per unit of `--work`.
const KERNELS: [Kernel; 3] = [
    ("integer", kernels::integer, 1),
    ("hashing", kernels::hashing, 1),
    ("memory", kernels::memory, 4),
];

pub(crate) async fn round(
    stage: &BenchEnvironment<'_>,
    args: &LabArgs,
) -> Result<Vec<Figure>, Problem> {
    let file = scratch::plugin(stage, "kernels")?;
    let mut figures = Vec::new();
    for (name, kernel, weight) in KERNELS {
        let n = u64::from(args.work) * weight;
        let task = NewTask::new(
            Name::new(&format!("kernel.{name}"))?,
            json!({ "n": n }).to_string(),
        );
        let loaded = BenchHandler::load(&stage.config, &file, &task, 1).await?;
        let (mut native, mut guest) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            let started = Instant::now();
            let wanted = tokio::task::block_in_place(|| kernel(black_box(n)));
            native.push(started.elapsed().as_secs_f64() * 1e3);
            let report = loaded.once().await?;
            guest.push(report.record.usage.wall.as_secs_f64() * 1e3);
            let result = match &report.outcome {
                Outcome::Complete { result } => result.trim_matches('"'),
                _ => "",
            };
            if result != wanted.to_string() {
                return Err(Problem::failed(format!(
                    "kernel {name} came to {result} in the sandbox and to {wanted} outside; nothing is reported"
                )));
            }
        }
        let (guest, native) = (median(&guest), median(&native));
        figures.extend([
            Figure::new(format!("{name}, native"), native, "ms"),
            Figure::new(format!("{name}, sandboxed"), guest, "ms"),
            work::ratio(&format!("{name}, ratio"), guest, native).target("≤ 2"),
        ]);
    }
    Ok(figures)
}
