//! Every import with expensive arguments: its fuel, and how long it keeps its thread. A
//! guest without any grant must not block the runner, whatever it calls.

mod core_text;
mod guest;
mod memory;
mod sequences;
mod shape;
mod world;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use self::guest::guest;
use self::shape::{DRY, Place, Shape, Size};
use self::world::{Import, World};
use super::guests::{attempt, guest as guest_file, handler, sandbox, small};
use crate::config::SandboxConfig;
use crate::run::sandbox::Sandbox;
use pgtq_task::{Outcome, Report};

/// The longest time that a guest may run between two yields.
const BOUND: Duration = Duration::from_millis(50);
/// How much longer the clock may show on a busy machine, with an unoptimised build.
const SLOWER: u32 = 10;
/// Fuel of a call of our own interfaces, besides one for each byte, and of any other.
const CALL_FUEL: u64 = 1_000;
const LEAST_FUEL: u64 = 200;
/// A call of up to 100 µs costs 200 fuel.
const NANOS_A_FUEL: u64 = 500;

/// Limits of an attempt.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How often a guest calls its import.
const CALLS: u64 = 30;

/// One import, called [`CALLS`] times.
struct Trial {
    name: String,
    size: Size,
    report: Report,
    /// The longest time that the guest kept its thread, and the total.
    longest: Duration,
    busy: Duration,
    bytes: u64,
    /// Fuel of the calls, without the guest's work around them.
    charged: u64,
}

/// Runs the guest that calls each of `imports`, once for each.
async fn trials(
    sandbox: &Sandbox,
    world: &World,
    imports: &[&Import<'_>],
    size: Size,
) -> Vec<Trial> {
    let shape = Shape {
        size,
        place: Place::Run,
        calls: CALLS,
        small: false,
    };
    let guest = guest(world, imports, shape);
    let handler = handler(sandbox, &guest.file).await;
    let mut trials = Vec::new();
    for (n, import) in imports.iter().enumerate() {
        let call = handler.call(attempt(&n.to_string()));
        let (Polls { longest, busy, .. }, report) = polled(&AtomicU64::new(0), call).await;
        // The machine may have been busy meanwhile; a slow call is slow again.
        let mut longest = longest;
        for _ in 0..4 {
            if longest < BOUND * SLOWER {
                break;
            }
            let call = handler.call(attempt(&n.to_string()));
            longest = longest.min(polled(&AtomicU64::new(0), call).await.0.longest);
        }
        let fuel = report.record.usage.fuel;
        let mut trial = Trial {
            name: import.name(),
            size,
            charged: 0,
            report,
            longest,
            busy,
            bytes: guest.bytes[n],
        };
        // Compared with the cheapest run without the calls: a slow handle costs its time
        // there, too.
        for _ in 0..20 {
            let dry = handler.call(attempt(&(n + DRY).to_string())).await;
            // Without the calls a longer number is read.
            let charged = (fuel + 200).saturating_sub(dry.record.usage.fuel);
            trial.charged = trial.charged.max(charged);
            if trial.charged() >= trial.least_fuel() {
                break;
            }
        }
        trials.push(trial);
    }
    trials
}

impl Trial {
    fn completed(&self) -> bool {
        matches!(self.report.outcome, Outcome::Complete { .. })
    }

    /// The minimum fuel that the calls must cost. A call that ended the guest is judged
    /// by its time only, together with everything the guest did before.
    fn least_fuel(&self) -> u64 {
        // A busy machine may preempt the guest's thread.
        let slack = Duration::from_millis(200);
        let by_time = self.busy.saturating_sub(slack).as_nanos() as u64 / NANOS_A_FUEL / 2;
        // A yield costs as much as a call, and with calls there are fewer of them.
        let by_call = match self.name.starts_with("pgtq:") {
            true => CALL_FUEL + self.bytes - LEAST_FUEL,
            false => LEAST_FUEL / 2,
        };
        match self.completed() {
            true => by_time.max(CALLS * by_call),
            false => by_time,
        }
    }

    fn charged(&self) -> u64 {
        match self.completed() {
            true => self.charged,
            false => self.report.record.usage.fuel,
        }
    }
}

/// Measurements of the polls of a future.
struct Polls {
    /// The longest time that it kept its thread, and the total.
    longest: Duration,
    busy: Duration,
    /// By how much the counter moved while it was polled.
    looks: u64,
}

async fn polled<T>(counter: &AtomicU64, future: impl Future<Output = T>) -> (Polls, T) {
    let mut polls = Polls {
        longest: Duration::ZERO,
        busy: Duration::ZERO,
        looks: 0,
    };
    let mut future = pin!(future);
    let done = std::future::poll_fn(|context| {
        let (began, before) = (Instant::now(), counter.load(Relaxed));
        let poll = future.as_mut().poll(context);
        polls.longest = polls.longest.max(began.elapsed());
        polls.busy += began.elapsed();
        polls.looks += counter.load(Relaxed) - before;
        poll
    })
    .await;
    (polls, done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn other_tasks_progress_while_one_instruction_fills_all_memory() {
    let mut config = SandboxConfig {
        slots: 1,
        ..small()
    };
    config.defaults.memory = 257 << 20;
    config.cap.memory = 257 << 20;
    let sandbox = sandbox(config);
    let handler = handler(&sandbox, &guest_file("bulk")).await;
    for which in ["fill", "copy", "grow"] {
        let looks = Arc::new(AtomicU64::new(0));
        let (other, counted) = (Arc::clone(&looks), Arc::clone(&looks));
        // Without a thread of its own: the only thread is the guest's.
        let other = tokio::spawn(async move {
            loop {
                other.fetch_add(1, Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let handler = Arc::clone(&handler);
        let call = async move { polled(&counted, handler.call(attempt(which))).await };
        let (trial, report) = tokio::spawn(call).await.expect("no panic");
        other.abort();
        let Polls {
            longest,
            busy,
            looks,
        } = trial;
        println!(
            "{which}: {longest:?} longest, {busy:?} in all, {looks} looks of others meanwhile"
        );
        assert!(
            matches!(report.outcome, Outcome::Complete { .. }),
            "{:?}",
            report.outcome
        );
        assert!(report.record.usage.peak_memory >= 256 << 20);
        assert!(
            which == "grow" || looks > 0,
            "{which}: no other task had a turn"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_import_is_charged_and_releases_its_thread() {
    let world = World::new();
    let mut config = SandboxConfig {
        slots: 2,
        ..small()
    };
    config.defaults.timeout = TIMEOUT;
    let sandbox = sandbox(config);
    let imports = world.imports();
    let all: Vec<&Import<'_>> = imports.iter().collect();
    let local: Vec<&Import<'_>> = imports.iter().filter(|import| import.is_local()).collect();
    let mut done = Vec::new();
    for size in Size::ALL {
        done.extend(trials(&sandbox, &world, &all, size).await);
        done.extend(trials(&sandbox, &world, &local, size).await);
    }
    let mut trials = done;
    trials.sort_by_key(|trial| std::cmp::Reverse(trial.longest));
    for trial in trials.iter().take(20) {
        println!(
            "{:>9.2?} longest {:>9.2?} in all {:>12} fuel {:?} {} {:?}",
            trial.longest,
            trial.busy,
            trial.report.record.usage.fuel,
            trial.size,
            trial.name,
            trial.report.outcome
        );
    }
    println!("{} trials of {} imports", trials.len(), imports.len());
    for trial in &trials {
        let (name, size) = (&trial.name, trial.size);
        let least = trial.least_fuel();
        let fuel = trial.charged();
        assert!(
            fuel >= least,
            "{name} {size:?}: {fuel} fuel, at least {least} are due for {:?}",
            trial.busy
        );
        // The time limit holds, whatever is called, though late on a busy machine.
        let wall = trial.report.record.usage.wall;
        assert!(wall < TIMEOUT * 5, "{name} {size:?}: ended after {wall:?}");
        assert!(
            trial.longest < BOUND * SLOWER,
            "{name} {size:?}: {:?}",
            trial.longest
        );
    }
    assert!(imports.len() > 150, "{} imports", imports.len());
}
