//! Calls of several imports together, which no single import shows: what unsent requests
//! keep, what is released, and the cost of a call whose guest allocates for the answer.

use wit_parser::{Resolve, WorldId};

use super::world::World;
use crate::tests::guests::{Parts, attempt, finished, handler, sandbox, small, source, text, wrap};
use pgtq_task::{Outcome, Report};

/// A guest of `tests/guests/sequences` with the world of all imports.
pub(super) fn file(name: &str, resolve: &Resolve, world: WorldId) -> Vec<u8> {
    let parts = Parts {
        memory: "30",
        ..Parts::default()
    };
    let text = text(&source(&format!("sequences/{name}")), &parts);
    wrap(&finished(&text, &parts, resolve, world))
}

async fn run(name: &str, args: &str) -> Report {
    let World { resolve, world } = World::new();
    let sandbox = sandbox(small());
    let handler = handler(&sandbox, &file(name, &resolve, world)).await;
    handler.call(attempt(args)).await
}

#[tokio::test]
async fn dropped_headers_are_not_charged_to_the_guest() {
    let report = run("churn", "[]").await;
    assert!(
        matches!(report.outcome, Outcome::Complete { .. }),
        "{:?}",
        report.outcome
    );
    // 2 MiB of its own, and the bytes charged between two measurements.
    assert!(
        report.record.usage.peak_memory < 5 << 20,
        "{}",
        report.record.usage.peak_memory
    );
}

#[tokio::test]
async fn unsent_requests_count_with_bodies_and_trailers() {
    let report = run("trailers", "[]").await;
    let Outcome::Retry { failure, .. } = &report.outcome else {
        panic!("it kept 900 bodies: {:?}", report.outcome);
    };
    assert!(failure.message.contains("host_bytes"), "{failure:?}");
}

#[tokio::test]
async fn a_call_costs_its_time_however_the_guest_allocates() {
    // The same calls, with host calls within each. The cheapest of a few: a busy machine
    // makes calls slow.
    let (mut plain, mut nested) = (u64::MAX, u64::MAX);
    for _ in 0..5 {
        for (args, cheapest) in [("[0]", &mut plain), ("[1]", &mut nested)] {
            let report = run("poll", args).await;
            assert!(matches!(report.outcome, Outcome::Complete { .. }));
            *cheapest = report.record.usage.fuel.min(*cheapest);
        }
    }
    assert!(nested > plain / 10, "{nested} fuel, {plain} without");
}
