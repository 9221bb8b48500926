//! Measured figures: numbers with units, collected over rounds.

use serde_json::json;

use crate::context::Context;
use crate::error::Problem;
use crate::output::{Cell, Rows};
use crate::text;

/// One number of one round.
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// The measured value.
    pub value: f64,
    unit: &'static str,
    target: &'static str,
}

impl Figure {
    /// A figure without a target.
    pub fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Figure {
            what: what.into(),
            value,
            unit,
            target: "",
        }
    }

    /// Sets the target of the figure, in its unit.
    #[must_use]
    pub fn target(mut self, target: &'static str) -> Self {
        self.set_target(target);
        self
    }

    /// Like [`Figure::target`], for an existing figure.
    pub(super) fn set_target(&mut self, target: &'static str) {
        self.target = target;
    }
}

/// A figure with the values of all rounds.
struct FigureLine {
    workload: String,
    figure: Figure,
    values: Vec<f64>,
}

/// All figures, and the facts about the machine.
pub(super) struct Table {
    facts: Vec<(String, String)>,
    lines: Vec<FigureLine>,
}

impl Table {
    pub(super) fn new(facts: Vec<(String, String)>) -> Self {
        Table {
            facts,
            lines: Vec::new(),
        }
    }

    /// Adds the figures of one round.
    pub(super) fn add(&mut self, workload: &str, figures: Vec<Figure>) {
        for figure in figures {
            let same = |line: &&mut FigureLine| {
                line.workload == workload && line.figure.what == figure.what
            };
            match self.lines.iter_mut().find(same) {
                Some(line) => line.values.push(figure.value),
                None => self.lines.push(FigureLine {
                    workload: workload.to_owned(),
                    values: vec![figure.value],
                    figure,
                }),
            }
        }
    }

    /// The figures of one workload as lines of text.
    pub(super) fn lines_of(&self, workload: &str) -> Vec<String> {
        let lines = self.lines.iter().filter(|line| line.workload == workload);
        lines
            .map(|line| {
                let (value, unit) = (human(median(&line.values)), line.figure.unit);
                format!("{workload}: {} {value} {unit}", line.figure.what)
            })
            .collect()
    }

    /// Prints the facts about the machine, then a row for each figure.
    pub(super) async fn print(&self, context: &Context) -> Result<(), Problem> {
        let out = context.out;
        out.send(out.render_rows(&self.rows())).await
    }

    fn rows(&self) -> Rows {
        const COLUMNS: &[&str] = &[
            "workload", "figure", "median", "unit", "lowest", "highest", "target",
        ];
        let mut rows = Rows::new("pgtq.bench/v2", COLUMNS);
        for (name, value) in &self.facts {
            let cells = ["machine", name, value, "", "", "", ""].map(Cell::from);
            let json = json!({"workload": "machine", "figure": name, "value": value});
            rows.push(format!("machine.{name}"), cells.to_vec(), json);
        }
        for line in &self.lines {
            let Figure {
                what, unit, target, ..
            } = &line.figure;
            let (middle, low, high) = (
                median(&line.values),
                lowest(&line.values),
                highest(&line.values),
            );
            let number = |value: f64| Cell::new(human(value), plain(value));
            let cells = vec![
                Cell::from(&line.workload),
                Cell::from(what),
                number(middle),
                Cell::from(unit),
                number(low),
                number(high),
                Cell::from(target),
            ];
            let json = json!({
                "workload": line.workload, "figure": what, "unit": unit, "median": middle,
                "lowest": low, "highest": high, "values": line.values, "target": target,
            });
            rows.push(
                format!("{}.{}", line.workload, what.replace(' ', "_")),
                cells,
                json,
            );
        }
        rows
    }
}

fn lowest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn highest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// The median: the mean of the middle two values for an even number; 0 without values.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.get(sorted.len() / 2), sorted.len() % 2) {
        (None, _) => 0.0,
        (Some(middle), 1) => *middle,
        (Some(upper), _) => f64::midpoint(*upper, sorted[sorted.len() / 2 - 1]),
    }
}

fn human(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => text::count(value.round() as u64),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn plain(value: f64) -> String {
    format!("{value:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, Output};

    #[test]
    fn the_median_is_the_middle_value_or_the_mean_of_two() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn rounds_of_a_figure_are_one_row() {
        let mut table = Table::new(vec![("fsync".to_owned(), "on".to_owned())]);
        for value in [30_000.0, 10_000.0, 20_000.0] {
            table.add("drain", vec![Figure::new("rate", value, "tasks/s")]);
            table.add(
                "drain",
                vec![Figure::new("ratio to floor", value / 4e4, "x").target("≥ 0.6")],
            );
        }
        let shown = |format, terminal| Output { format, terminal }.render_rows(&table.rows());
        insta::assert_snapshot!(
            "rounds",
            [
                shown(Format::Table, true),
                shown(Format::Table, false),
                shown(Format::Jsonl, false),
                shown(Format::Ids, false),
            ]
            .join("\n")
        );
        assert_eq!(
            table.lines_of("drain"),
            [
                format!("drain: rate {} tasks/s", text::count(20_000)),
                "drain: ratio to floor 0.50 x".to_owned()
            ]
        );
    }
}
