//! The Prometheus text format, written by hand: a dozen counters need no library.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::monitored::Monitored;
use crate::plugin::snapshot::Snapshot;
use crate::state::stats::EngineStats;

pub(super) fn render(monitored: &Monitored) -> String {
    let mut page = Page(String::with_capacity(2_048));
    counters(&mut page, &monitored.stats);
    handlers(&mut page, &monitored.registry.snapshot());
    page.head("pgtq_build_info", "gauge", "The version of this runner.");
    page.labelled("pgtq_build_info", "version", env!("CARGO_PKG_VERSION"), 1);
    page.0
}

fn counters(page: &mut Page, stats: &EngineStats) {
    let get = |counter: &AtomicU64| counter.load(Relaxed);
    page.head(
        "pgtq_attempts_total",
        "counter",
        "Attempts that ended here, by outcome.",
    );
    for (outcome, counter) in [
        ("complete", &stats.complete),
        ("failed", &stats.failed),
        ("cancelled", &stats.cancelled),
        ("retried", &stats.retried),
        ("snoozed", &stats.snoozed),
        ("released", &stats.released),
        ("stale", &stats.stale),
    ] {
        page.labelled("pgtq_attempts_total", "outcome", outcome, get(counter));
    }
    page.one(
        "pgtq_claimed_tasks_total",
        "counter",
        "Tasks claimed.",
        get(&stats.claimed),
    );
    page.one(
        "pgtq_claims_total",
        "counter",
        "Claims that returned a task.",
        get(&stats.claims),
    );
    page.one(
        "pgtq_rescued_tasks_total",
        "counter",
        "Tasks rescued from dead runners.",
        get(&stats.rescued),
    );
    page.one(
        "pgtq_fuel_total",
        "counter",
        "Fuel consumed by guests.",
        get(&stats.fuel),
    );
    page.one(
        "pgtq_attempts_running",
        "gauge",
        "Attempts in progress.",
        get(&stats.running),
    );
}

fn handlers(page: &mut Page, snapshot: &Snapshot) {
    page.head(
        "pgtq_handler_info",
        "gauge",
        "Handlers loaded now, with the digest that serves them.",
    );
    let mut handlers: Vec<_> = snapshot.handlers.iter().collect();
    handlers.sort_by_key(|(name, _)| (*name).clone());
    for (name, handler) in handlers {
        // Names contain no character that needs escaping here.
        let digest = handler
            .digest()
            .map_or_else(String::new, |digest| digest.to_string());
        let _ = writeln!(
            page.0,
            "pgtq_handler_info{{handler=\"{name}\",digest=\"{digest}\"}} 1"
        );
    }
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn labelled(&mut self, name: &str, label: &str, label_value: &str, value: u64) {
        let _ = writeln!(self.0, "{name}{{{label}=\"{label_value}\"}} {value}");
    }
}
