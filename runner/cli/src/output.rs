//! Output to stdout: a table on a terminal, tab-separated lines in a pipe, JSON with a
//! `schema` field, JSON lines, or ids.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;
use serde_json::Value;

use super::error::Problem;
use super::{json, stderr, text};

/// The values of `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table on a terminal, tab-separated values in a pipe
    Table,
    /// One JSON object with a `schema` field
    Json,
    /// One JSON object per line
    Jsonl,
    /// Only ids or names, one per line
    Ids,
}

/// A value of a table.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    /// For a terminal: short, relative.
    human: String,
    /// For a pipe: exact.
    plain: String,
}

impl Cell {
    pub(crate) fn new(human: impl Into<String>, plain: impl Into<String>) -> Self {
        Cell {
            human: human.into(),
            plain: plain.into(),
        }
    }

    /// A time: relative on a terminal, RFC 3339 in a pipe.
    pub(crate) fn time(at: Option<jiff::Timestamp>, now: jiff::Timestamp) -> Self {
        match at {
            Some(at) => Cell::new(text::relative(at, now), text::instant(at)),
            None => Cell::new("", ""),
        }
    }

    /// A count: with grouped digits on a terminal.
    pub(crate) fn count(n: u64) -> Self {
        Cell::new(text::count(n), n.to_string())
    }

    /// A count that may be an estimate, marked by a tilde on a terminal.
    pub(crate) fn about(n: i64, is_estimate: bool) -> Self {
        let n = u64::try_from(n).unwrap_or(0);
        let tilde = if is_estimate { "~" } else { "" };
        Cell::new(format!("{tilde}{}", text::count(n)), n.to_string())
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Cell::new(text.as_ref(), text.as_ref())
    }
}

/// Rows of a table.
pub(crate) struct Rows {
    /// For example `pgtq.tasks/v1`: the part between the dot and the slash is the name of
    /// the list in JSON.
    schema: &'static str,
    columns: &'static [&'static str],
    rows: Vec<OutputRow>,
}

struct OutputRow {
    id: String,
    cells: Vec<Cell>,
    /// On one line.
    json: String,
}

impl Rows {
    pub(crate) fn new(schema: &'static str, columns: &'static [&'static str]) -> Self {
        Rows {
            schema,
            columns,
            rows: Vec::new(),
        }
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers hand over a copy or a reference, whichever they have"
    )]
    pub(crate) fn push(&mut self, id: impl ToString, cells: Vec<Cell>, json: impl Serialize) {
        debug_assert_eq!(cells.len(), self.columns.len(), "one cell a column");
        self.rows.push(OutputRow {
            id: id.to_string(),
            cells,
            json: json::line(&json),
        });
    }

    /// All rows as a JSON array, for use in another object.
    pub(crate) fn as_json(&self) -> Value {
        let read =
            |row: &OutputRow| -> Value { serde_json::from_str(&row.json).expect("just written") };
        self.rows.iter().map(read).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }
}

/// The output for data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// The format.
    pub(crate) format: Format,
    /// Whether stdout is a terminal.
    pub(crate) terminal: bool,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Output {
            format,
            terminal: std::io::stdout().is_terminal(),
        }
    }

    /// Whether the format is JSON or JSON lines.
    pub(crate) fn is_json(self) -> bool {
        matches!(self.format, Format::Json | Format::Jsonl)
    }

    /// Prints rows.
    pub(crate) fn rows(self, rows: &Rows) -> Result<(), Problem> {
        self.print(&self.render_rows(rows))
    }

    /// Prints one object: `pairs` as text, `json` as JSON.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers hand over a copy or a reference, whichever they have"
    )]
    pub(crate) fn one(
        self,
        schema: &'static str,
        id: impl ToString,
        pairs: &[(&str, Cell)],
        json: impl Serialize,
    ) -> Result<(), Problem> {
        self.print(&self.render_one(schema, &id.to_string(), pairs, &json))
    }

    /// Prints untrusted JSON text unchanged. Escapes control characters on a terminal.
    pub(crate) fn json(self, text: &str) -> Result<(), Problem> {
        self.write(&mut std::io::stdout().lock(), &self.shown_json(text))
    }

    /// Prints text. Strips the styles of this program in a pipe, and replaces all other
    /// control characters on a terminal.
    pub(crate) fn raw(self, text: &str) -> Result<(), Problem> {
        let mut out = anstream::stdout().lock();
        match self.terminal {
            true => self.write(&mut out, &text::styled(text)),
            false => self.write(&mut out, text),
        }
    }

    /// Prints on a blocking thread, for verbs that handle signals while the reader is
    /// slow. Cancel-safe: the text may or may not have been written.
    pub(crate) async fn send(self, text: String) -> Result<(), Problem> {
        let sent = tokio::task::spawn_blocking(move || self.print(&text)).await;
        sent.map_err(|error| Problem::failed(format!("cannot print: {error}")))?
    }

    fn print(self, text: &str) -> Result<(), Problem> {
        match self.is_json() {
            true => self.write(&mut std::io::stdout().lock(), text),
            false => self.raw(text),
        }
    }

    fn write(self, out: &mut impl Write, text: &str) -> Result<(), Problem> {
        stderr::in_order();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    /// JSON text for this output.
    pub(crate) fn shown_json(self, text: &str) -> Cow<'_, str> {
        match self.terminal {
            true => Cow::Owned(text::json_on_terminal(text)),
            false => Cow::Borrowed(text),
        }
    }

    pub(crate) fn render_rows(self, rows: &Rows) -> String {
        let text = self.lay_out_rows(rows);
        match self.is_json() {
            true => self.shown_json(&text).into_owned(),
            false => text,
        }
    }

    fn lay_out_rows(self, rows: &Rows) -> String {
        match self.format {
            Format::Table if self.terminal => table(rows),
            Format::Table => rows
                .rows
                .iter()
                .map(|row| {
                    let cells = row
                        .cells
                        .iter()
                        .map(|cell| text::line(&cell.plain, usize::MAX));
                    cells.collect::<Vec<_>>().join("\t") + "\n"
                })
                .collect(),
            Format::Ids => rows
                .rows
                .iter()
                .map(|row| format!("{}\n", row.id))
                .collect(),
            Format::Jsonl => rows
                .rows
                .iter()
                .map(|row| format!("{}\n", row.json))
                .collect(),
            Format::Json => {
                let field = rows
                    .schema
                    .trim_start_matches("pgtq.")
                    .split('/')
                    .next()
                    .unwrap_or("items");
                let list: Vec<&str> = rows.rows.iter().map(|row| row.json.as_str()).collect();
                let list = format!("{{\"{field}\":[{}]}}", list.join(","));
                json::pretty(&json::marked(rows.schema, &list))
            }
        }
    }

    pub(crate) fn render_one(
        self,
        schema: &'static str,
        id: &str,
        pairs: &[(&str, Cell)],
        json: &impl Serialize,
    ) -> String {
        let json = || json::marked(schema, &json::line(json));
        let shown = pairs.iter().filter(|(_, cell)| !cell.plain.is_empty());
        match self.format {
            Format::Ids => format!("{id}\n"),
            Format::Json => self.shown_json(&json::pretty(&json())).into_owned(),
            Format::Jsonl => format!("{}\n", self.shown_json(&json())),
            Format::Table if self.terminal => {
                let width = pairs.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
                shown
                    .map(|(key, cell)| {
                        let value = text::safe(&cell.human);
                        let value = value
                            .trim_end()
                            .replace('\n', &format!("\n{}", " ".repeat(width + 2)));
                        format!("\x1b[1m{key:<width$}\x1b[0m  {value}\n")
                    })
                    .collect()
            }
            Format::Table => shown
                .map(|(key, cell)| format!("{key}\t{}\n", text::line(&cell.plain, usize::MAX)))
                .collect(),
        }
    }
}

/// Width of a terminal that reports none.
pub(crate) const UNKNOWN_WIDTH: u16 = 80;

fn table(rows: &Rows) -> String {
    if rows.rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.set_content_arrangement(ContentArrangement::Dynamic);
    // Some terminals (`script`, containers) report a width of 0.
    if table.width() == Some(0) {
        table.set_width(UNKNOWN_WIDTH);
    }
    table.set_header(rows.columns.iter().map(|name| name.to_uppercase()));
    for row in &rows.rows {
        table.add_row(row.cells.iter().map(|cell| text::line(&cell.human, 120)));
    }
    format!("{}\n", plain_style(&mut table))
}

fn plain_style(table: &mut Table) -> String {
    table.load_style(comfy_table::presets::NOTHING);
    // Remove the padding before the first cell and after the last one.
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    let lines = lines.map(|line| line.strip_prefix(' ').map_or(line.clone(), str::to_owned));
    lines.collect::<Vec<_>>().join("\n")
}
