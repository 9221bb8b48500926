//! What a run tells: the same text for people and for the file.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::checker::Violation;
use crate::facts::Facts;
use crate::nemesis::Fault;

/// What is told besides the facts.
pub(crate) struct Run<'a> {
    pub(crate) seed: u64,
    pub(crate) seconds: f64,
    pub(crate) faults: &'a BTreeMap<Fault, usize>,
    /// Statements at which connections were cut.
    pub(crate) n_cut: usize,
    pub(crate) n_repeated: usize,
    pub(crate) n_looks: usize,
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
    line("connections cut at a point", run.n_cut.to_string());
    line("tasks acknowledged", facts.pushed.len().to_string());
    line("pushes rolled back", facts.undone.len().to_string());
    line(
        "pushes without an answer",
        format!(
            "{}, and {} repeated by key",
            facts.n_unknown, run.n_repeated
        ),
    );
    line(
        "tasks ended",
        format!(
            "{}: {}",
            facts.ends.len(),
            by(facts.ends.iter().map(|end| end.state.as_str()))
        ),
    );
    line(
        "attempts besides",
        format!(
            "{}: {}",
            facts.tries.len(),
            by(facts.tries.iter().map(|one| one.kind.as_str()))
        ),
    );
    line("rows of handlers", facts.rows.len().to_string());
    line("samples of the observer", run.n_looks.to_string());
    line("stale endings refused", format!("{} or more", run.n_stale));
    let blamed = facts.ends.iter().filter(|end| end.error == "crash");
    line("blamed for three deaths", blamed.count().to_string());
    line("runners killed", facts.deaths.len().to_string());
    line("tasks taken back after that", spread(&facts.rescues()));
    line("tasks started after that", spread(&facts.restarts()));
    let count = |rule: &str| violations.iter().filter(|found| found.rule == rule).count();
    line("lost", count("an acknowledged task ends").to_string());
    line("ended twice", count("a task ends once").to_string());
    line(
        "effects doubled or missing",
        count("effects and outcome are one").to_string(),
    );
    line("violations", violations.len().to_string());
    for found in violations.iter().take(20) {
        let _ = writeln!(text, "  {}: {}", found.rule, found.what);
    }
    text
}

/// How many, and how long it took them.
fn spread(seconds: &[f64]) -> String {
    let n = seconds.len();
    let at = |part: usize| {
        let place = (n * part / 100).min(n.saturating_sub(1));
        seconds.get(place).copied().unwrap_or_default()
    };
    let (p50, p99, max) = (at(50), at(99), at(100));
    format!("{n}: p50 {p50:.1} s, p99 {p99:.1} s, max {max:.1} s")
}

/// How many of each.
fn by<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    words.for_each(|word| *counts.entry(word).or_default() += 1);
    let counts: Vec<String> = counts
        .iter()
        .map(|(word, n)| format!("{n} {word}"))
        .collect();
    counts.join(", ")
}
