//! The report of a run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::checker::Violation;
use crate::facts::Facts;
use crate::injector::Fault;

/// The data of a report besides the facts.
pub(crate) struct Run<'a> {
    pub(crate) seed: u64,
    pub(crate) seconds: f64,
    pub(crate) faults: &'a BTreeMap<Fault, usize>,
    /// The number of cuts at statements.
    pub(crate) n_cut: usize,
    pub(crate) n_repeated: usize,
    pub(crate) n_samples: usize,
    pub(crate) n_stale: u64,
}

/// The report.
pub(crate) fn report(run: &Run<'_>, facts: &Facts, violations: &[Violation]) -> String {
    let mut text = format!("chaos, seed {}, {:.0} s\n", run.seed, run.seconds);
    let n_faults: usize = run.faults.values().sum();
    let faults: Vec<String> = run
        .faults
        .iter()
        .map(|(fault, n)| format!("{fault:?} {n}"))
        .collect();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<28}{value}");
    };
    line(
        "faults injected",
        format!("{n_faults}: {}", faults.join(", ")),
    );
    line("cuts at statements", run.n_cut.to_string());
    line("tasks acknowledged", facts.pushed.len().to_string());
    line("pushes rolled back", facts.undone.len().to_string());
    line(
        "lost responses of pushes",
        format!(
            "{}, and {} repeated by key",
            facts.n_unknown, run.n_repeated
        ),
    );
    line(
        "tasks finished",
        format!(
            "{}: {}",
            facts.outcomes.len(),
            by(facts.outcomes.iter().map(|end| end.state.as_str()))
        ),
    );
    line(
        "other attempts",
        format!(
            "{}: {}",
            facts.attempts.len(),
            by(facts.attempts.iter().map(|one| one.kind.as_str()))
        ),
    );
    line("rows of handlers", facts.rows.len().to_string());
    line("samples of the observer", run.n_samples.to_string());
    line(
        "stale outcomes rejected",
        format!("{} or more", run.n_stale),
    );
    let blamed = facts.outcomes.iter().filter(|end| end.error == "crash");
    line("failed after three crashes", blamed.count().to_string());
    line("runners killed", facts.kills.len().to_string());
    line("time to rescue", spread(&facts.rescues()));
    line("time to restart", spread(&facts.restarts()));
    let count = |rule: &str| violations.iter().filter(|found| found.rule == rule).count();
    line(
        "lost",
        count("every acknowledged task has an outcome").to_string(),
    );
    line(
        "finished twice",
        count("each task has one outcome").to_string(),
    );
    line(
        "wrong effects",
        count("effects are committed with the outcome").to_string(),
    );
    line("violations", violations.len().to_string());
    for found in violations.iter().take(20) {
        let _ = writeln!(text, "  {}: {}", found.rule, found.what);
    }
    text
}

/// The count and the percentiles.
fn spread(seconds: &[f64]) -> String {
    let n = seconds.len();
    let at = |part: usize| {
        let place = (n * part / 100).min(n.saturating_sub(1));
        seconds.get(place).copied().unwrap_or_default()
    };
    let (p50, p99, max) = (at(50), at(99), at(100));
    format!("{n}: p50 {p50:.1} s, p99 {p99:.1} s, max {max:.1} s")
}

/// The count of each word.
fn by<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    words.for_each(|word| *counts.entry(word).or_default() += 1);
    let counts: Vec<String> = counts
        .iter()
        .map(|(word, n)| format!("{n} {word}"))
        .collect();
    counts.join(", ")
}
