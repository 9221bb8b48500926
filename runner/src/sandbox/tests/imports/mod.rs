//! Every import with dear arguments: what it is charged, and how long it keeps its
//! thread. A guest without any grant must not hold up the runner, whatever it calls.

mod guest;
mod memory;
mod world;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::guest::{Place, Shape, Size, guest};
use self::world::World;
use super::guests::{attempt, load, sandbox, small};
use crate::sandbox::{Sandbox, SandboxConfig};
use crate::task::{Handler, Outcome, Report};

/// Between two looks of the scheduler no guest takes longer.
const BOUND: Duration = Duration::from_millis(50);
/// How much longer the clock may say on a busy machine, with an unoptimised build.
const SLOWER: u32 = 10;
/// Fuel of any call, and of each byte of those of our own.
const CALL_FUEL: u64 = 1_000;
/// A call of up to 20 µs costs 1,000 fuel.
const NANOS_A_FUEL: u64 = 20;

/// How often a guest calls its import.
const CALLS: u64 = 30;

/// One import, called [`CALLS`] times.
struct Trial {
    name: String,
    size: Size,
    report: Report,
    /// The longest time that the guest kept its thread, and the sum of all.
    longest: Duration,
    busy: Duration,
    bytes: u64,
}

async fn trial(
    sandbox: &Sandbox,
    file: &[u8],
    name: &str,
    size: Size,
    bytes: u64,
) -> Option<Trial> {
    let compiled = load(sandbox, file).await.ok()?;
    let manifest = compiled.probe().await.expect("probe");
    let handler: Arc<dyn Handler> = compiled.handlers(&manifest, "guest").remove(0);
    let (mut longest, mut busy) = (Duration::ZERO, Duration::ZERO);
    let mut call = pin!(handler.call(attempt("[]")));
    let report = std::future::poll_fn(|context| {
        let began = Instant::now();
        let poll = call.as_mut().poll(context);
        longest = longest.max(began.elapsed());
        busy += began.elapsed();
        poll
    })
    .await;
    Some(Trial {
        name: name.to_owned(),
        size,
        report,
        longest,
        busy,
        bytes,
    })
}

impl Trial {
    fn completed(&self) -> bool {
        matches!(self.report.outcome, Outcome::Complete { .. })
    }

    /// The least that the calls must have been charged.
    fn least_fuel(&self) -> u64 {
        let calls = if self.completed() { CALLS } else { 1 };
        let by_byte = match self.name.starts_with("pgtq:") && self.completed() {
            true => self.bytes,
            false => 0,
        };
        let by_call = calls * (CALL_FUEL + by_byte);
        let slack = Duration::from_millis(20);
        let by_time = self.busy.saturating_sub(slack).as_nanos() as u64 / NANOS_A_FUEL / 2;
        by_call.max(by_time)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_import_keeps_its_thread_or_goes_uncharged_whatever_its_arguments() {
    let world = World::new();
    let mut config = SandboxConfig {
        slots: 2,
        ..small()
    };
    config.defaults.timeout = Duration::from_secs(2);
    let sandbox = sandbox(config);
    let (mut trials, mut unlinked) = (Vec::new(), Vec::new());
    for import in world.imports() {
        let name = format!("{} {}", import.interface, import.function.name);
        for size in Size::ALL {
            let shape = Shape {
                size,
                place: Place::Run,
                calls: CALLS,
                small: false,
            };
            let (file, bytes) = guest(&world, &import, shape);
            match trial(&sandbox, &file, &name, size, bytes).await {
                Some(trial) => trials.push(trial),
                None if size == Size::Modest => unlinked.push(name.clone()),
                None => {}
            }
        }
    }
    trials.sort_by_key(|trial| std::cmp::Reverse(trial.longest));
    for trial in trials.iter().take(20) {
        println!(
            "{:>9.2?} longest {:>9.2?} in all {:>12} fuel {:?} {} {:?}",
            trial.longest,
            trial.busy,
            trial.report.usage.fuel,
            trial.size,
            trial.name,
            trial.report.outcome
        );
    }
    println!("{} trials; not linked: {unlinked:#?}", trials.len());
    for trial in &trials {
        let (name, size) = (&trial.name, trial.size);
        let least = trial.least_fuel();
        let fuel = trial.report.usage.fuel;
        assert!(
            fuel >= least,
            "{name} {size:?}: {fuel} fuel, at least {least} are due for {:?}",
            trial.busy
        );
        assert!(
            trial.longest < BOUND * SLOWER,
            "{name} {size:?}: {:?}",
            trial.longest
        );
    }
    assert!(trials.len() > 100, "{}", trials.len());
}
