//! What goes to stdout: a table on a terminal, tab-separated lines in a pipe,
//! JSON with a schema marker, JSON lines, or ids.

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

/// One value in two forms.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    /// For a table: short, relative.
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

    /// A moment: relative for people, RFC 3339 for programs.
    pub(crate) fn time(at: Option<jiff::Timestamp>, now: jiff::Timestamp) -> Self {
        match at {
            Some(at) => Cell::new(text::relative(at, now), text::instant(at)),
            None => Cell::new("", ""),
        }
    }

    /// A count: grouped digits for people.
    pub(crate) fn count(n: u64) -> Self {
        Cell::new(text::count(n), n.to_string())
    }

    /// A count that may be an estimate, which people are told by a tilde.
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

/// Rows of one kind of thing.
pub(crate) struct Rows {
    /// e.g. `pgtq.tasks/v1`: the word before the slash is the list's field.
    schema: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Row>,
}

struct Row {
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
        self.rows.push(Row {
            id: id.to_string(),
            cells,
            json: json::line(&json),
        });
    }

    /// All rows as a list, to be part of another answer.
    pub(crate) fn as_json(&self) -> Value {
        let read = |row: &Row| -> Value { serde_json::from_str(&row.json).expect("just written") };
        self.rows.iter().map(read).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }
}

/// Where data goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// What was asked for.
    pub(crate) format: Format,
    /// Whether a person reads it.
    pub(crate) terminal: bool,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Output {
            format,
            terminal: std::io::stdout().is_terminal(),
        }
    }

    /// Whether the answer must be JSON.
    pub(crate) fn is_json(self) -> bool {
        matches!(self.format, Format::Json | Format::Jsonl)
    }

    /// Prints rows.
    pub(crate) fn rows(self, rows: &Rows) -> Result<(), Problem> {
        self.print(&self.render_rows(rows))
    }

    /// Prints one thing: `pairs` for people, `json` for programs.
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

    /// Prints JSON text of anybody as it is. A terminal gets it with escapes for
    /// what it would obey.
    pub(crate) fn json(self, text: &str) -> Result<(), Problem> {
        self.write(&mut std::io::stdout().lock(), &self.shown_json(text))
    }

    /// Prints text that may hold styles of our own, which are left out in a pipe.
    /// A terminal gets nothing else that it would obey.
    pub(crate) fn raw(self, text: &str) -> Result<(), Problem> {
        let mut out = anstream::stdout().lock();
        match self.terminal {
            true => self.write(&mut out, &text::styled(text)),
            false => self.write(&mut out, text),
        }
    }

    /// Prints from a thread of its own, for verbs that must hear signals
    /// while nobody reads. Cancel-safe: the text may or may not be read then.
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

    /// JSON text as it is printed here.
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

/// Columns of a terminal that does not say how many it has.
pub(crate) const UNKNOWN_WIDTH: u16 = 80;

fn table(rows: &Rows) -> String {
    if rows.rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.set_content_arrangement(ContentArrangement::Dynamic);
    // Some terminals (`script`, containers) do not say how wide they are, and report 0.
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
    // Every cell is padded by a space on both sides; the first needs none.
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    let lines = lines.map(|line| line.strip_prefix(' ').map_or(line.clone(), str::to_owned));
    lines.collect::<Vec<_>>().join("\n")
}
