//! The columns that a task has when its attempt ends: those it carries from table to table, and
//! those of its outcome. One table of them, from which the lists in the statements, the
//! parameters, and the types of a copy are made.
//!
//! A statement names a list in double braces:
//!
//! - `carried` and `carried t`: the carried columns, and those of the table `t`. None is
//!   forgotten where a task moves, and a new column is added here and to the tables. A statement
//!   names the columns that a transition changes (`attempts`, `crashes`, when the task is due)
//!   itself. Claims have an array for each: `claim.sql` and `isolate.sql`.
//! - `LIST.bound 4`: a parameter for each column of a list, the first one `$4`, with its type.
//! - `LIST.names`: the names of the bound values.
//! - `LIST.columns`: the columns of `history`, or of `attempts`, that they are stored in.
//! - `LIST.values e`: what is stored, from the bound values of the table `e`.
//! - `LIST.arguments 14`: the first of each bound array, as named arguments of a function.

use tokio_postgres::types::Type;

use crate::sql::outcomes::{Copied, Outcomes, Param};

/// Columns that some statement lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    /// What a task keeps while it moves between tables.
    Carried,
    /// A final outcome: a row of `history`.
    Final,
    /// An outcome after which the task returns to the queue.
    Returned,
    /// The part of a returned outcome that `history` keeps if the task was cancelled meanwhile.
    Cancelled,
    /// The part of a returned outcome that `attempts` keeps.
    Attempt,
    /// A success: the arguments of `complete_in_task`.
    Success,
}
use List::{Attempt, Cancelled, Carried, Final, Returned, Success};

const ALL: &[List] = &[Carried, Final, Returned, Cancelled, Success];
const ENDED: &[List] = &[Final, Returned, Cancelled, Success];
const REPORTED: &[List] = &[Final, Returned, Cancelled, Attempt, Success];
const FAILED: &[List] = &[Final, Returned, Cancelled, Attempt];

/// One column.
pub(crate) struct Column {
    /// Its name in `history`.
    pub(crate) name: &'static str,
    /// The lists that it is in.
    lists: &'static [List],
    /// The name of the bound value.
    bound: &'static str,
    /// The SQL type of the bound value.
    sql: &'static str,
    /// What is stored, with `$` for the bound value.
    value: &'static str,
    /// The type in a copy. JSON that a guest wrote is sent as text.
    copied: Type,
    /// The bound values of all outcomes.
    array: for<'a> fn(&'a Outcomes<'_>) -> Param<'a>,
    /// The stored value of one outcome, for a copy.
    cell: for<'a> fn(&'a Copied<'_>, usize) -> Param<'a>,
}

/// A row of the table: name, lists, bound value and its type, stored value, type in a copy, and
/// the field of [`Outcomes`]. A stored value that is not the bound one names the field of
/// [`Copied`] with it.
macro_rules! columns {
    ($($name:ident $lists:ident $bound:ident: $sql:literal, $value:literal, $copied:ident $(, $from:ident)?;)*) => {
        &[$(Column {
            name: stringify!($name),
            lists: $lists,
            bound: stringify!($bound),
            sql: $sql,
            value: $value,
            copied: Type::$copied,
            array: |outcomes| &outcomes.$bound,
            cell: columns!(@cell $bound $($from)?),
        }),*]
    };
    (@cell $bound:ident) => { |copied, n| &copied.outcomes.$bound[n] };
    (@cell $bound:ident $from:ident) => { |copied, n| copied.$from(n) };
}

const CLAIMED: &[List] = &[Final, Returned, Cancelled];
const FINAL: &[List] = &[Final];
const RESULT: &[List] = &[Final, Success];
/// A task that was cancelled has another message.
const MESSAGE: &[List] = &[Final, Returned, Attempt];

/// All of them. The order is that of every statement and row.
pub(crate) const COLUMNS: &[Column] = columns! {
    queue ALL queue: "text", "$", TEXT;
    handler ALL handler: "text", "$", TEXT;
    priority ALL priority: "integer", "$", INT4;
    retries ALL retries: "integer", "$", INT4;
    pushed_at ALL pushed_at: "timestamptz", "$", TIMESTAMPTZ;
    key ALL key: "text", "$", TEXT;
    parent ALL parent: "bigint", "$", INT8;
    traits ALL traits: "jsonb", "$", JSONB, traits;
    args ALL args: "json", "$", JSON;
    claim_id CLAIMED claim_id: "bigint", "$", INT8;
    id CLAIMED id: "bigint", "$", INT8;
    state FINAL state: "text", "$", TEXT;
    result RESULT result: "text", "$::json", TEXT;
    error_kind FINAL error_kind: "text", "$", TEXT;
    error_code FAILED error_code: "text", "$", TEXT;
    error_message MESSAGE error_message: "text", "$", TEXT;
    error_details FAILED error_details: "text", "$::json", TEXT;
    backtrace FAILED backtrace: "text", "string_to_array($, E'\\n')", TEXT_ARRAY, backtrace;
    logs REPORTED logs: "text", "$::json", TEXT;
    logs_dropped REPORTED logs_dropped: "bigint", "$", INT8;
    attempts ENDED attempts: "integer", "$", INT4;
    crashes ENDED crashes: "integer", "$", INT4;
    due_at ENDED due_at: "timestamptz", "$", TIMESTAMPTZ;
    started_at ENDED since_start: "float8", "now() - $ * interval '1 second'", TIMESTAMPTZ, started_at;
    finished_at ENDED since_end: "float8", "now() - $ * interval '1 second'", TIMESTAMPTZ, finished_at;
    fuel REPORTED fuel: "bigint", "$", INT8;
    peak_memory REPORTED peak_memory: "bigint", "$", INT8;
    wall_us REPORTED wall_us: "bigint", "$", INT8;
    digest REPORTED digest: "bytea", "$", BYTEA;
};

impl List {
    fn named(name: &str) -> Option<List> {
        Some(match name {
            "carried" => Carried,
            "final" => Final,
            "returned" => Returned,
            "cancelled" => Cancelled,
            "attempt" => Attempt,
            "success" => Success,
            _ => return None,
        })
    }

    pub(crate) fn columns(self) -> impl Iterator<Item = &'static Column> {
        COLUMNS
            .iter()
            .filter(move |column| column.lists.contains(&self))
    }

    /// The bound values, as parameters: an array for each column.
    pub(crate) fn bind<'a>(self, outcomes: &'a Outcomes<'_>) -> impl Iterator<Item = Param<'a>> {
        self.columns().map(|column| (column.array)(outcomes))
    }

    /// The types of the columns in a copy.
    pub(crate) fn copied(self) -> impl Iterator<Item = Type> {
        self.columns().map(|column| column.copied.clone())
    }

    /// The stored values of one outcome, for a copy.
    pub(crate) fn row<'a>(
        self,
        copied: &'a Copied<'_>,
        n: usize,
    ) -> impl Iterator<Item = Param<'a>> {
        self.columns().map(move |column| (column.cell)(copied, n))
    }

    /// The text of one list in a statement; `None` for anything else in braces.
    fn text(self, what: &str, argument: &str) -> Option<String> {
        let each = |text: &dyn Fn(usize, &Column) -> String| {
            let texts = self
                .columns()
                .enumerate()
                .map(|(n, column)| text(n, column));
            texts.collect::<Vec<_>>().join(", ")
        };
        let first = argument.parse::<usize>();
        Some(match (what, first) {
            ("", _) if argument.is_empty() => each(&|_, column| column.name.to_owned()),
            ("", _) => each(&|_, column| format!("{argument}.{}", column.name)),
            ("bound", Ok(first)) => each(&|n, column| format!("${}::{}[]", first + n, column.sql)),
            ("arguments", Ok(first)) => each(&|n, column| {
                let place = first + n;
                format!("{} => (${place}::{}[])[1]", column.bound, column.sql)
            }),
            ("names", _) => each(&|_, column| column.bound.to_owned()),
            ("columns", _) => each(&|_, column| column.name.to_owned()),
            ("values", _) => each(&|_, column| {
                let bound = format!("{argument}.{}", column.bound);
                column.value.replace('$', &bound)
            }),
            _ => return None,
        })
    }
}

/// `sql` with the columns in place of the lists.
pub(crate) fn render(sql: &str) -> String {
    let mut parts = sql.split("{{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let list = part.split_once("}}").and_then(|(inside, rest)| {
            let (list, argument) = inside.split_once(' ').unwrap_or((inside, ""));
            let (list, what) = list.split_once('.').unwrap_or((list, ""));
            Some((List::named(list)?.text(what, argument)?, rest))
        });
        match list {
            Some((list, rest)) => {
                text.push_str(&list);
                text.push_str(rest);
            }
            // `{{schema}}`, for one.
            None => {
                text.push_str("{{");
                text.push_str(part);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_carried_columns_are_rendered_with_and_without_a_table() {
        assert_eq!(
            render("INSERT INTO {{schema}}.t ({{carried}}, id) SELECT {{carried g}}, g.id"),
            "INSERT INTO {{schema}}.t (queue, handler, priority, retries, pushed_at, key, parent, traits, args, id) \
             SELECT g.queue, g.handler, g.priority, g.retries, g.pushed_at, g.key, g.parent, g.traits, g.args, g.id"
        );
        assert_eq!(render("SELECT 1"), "SELECT 1");
    }

    #[test]
    fn a_list_is_rendered_as_parameters_names_columns_and_values() {
        for (sql, rendered) in [
            (
                "{{attempt.bound 7}}",
                "$7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bytea[]",
            ),
            (
                "{{attempt.names}}",
                "error_code, error_message, error_details, backtrace, logs, logs_dropped, fuel, peak_memory, wall_us, digest",
            ),
            (
                "{{attempt.values j}}",
                "j.error_code, j.error_message, j.error_details::json, string_to_array(j.backtrace, E'\\n'), j.logs::json, j.logs_dropped, j.fuel, j.peak_memory, j.wall_us, j.digest",
            ),
        ] {
            assert_eq!(render(sql), rendered);
        }
        let names = render("{{final.names}} {{final.columns}}");
        assert!(
            names.contains("since_start, since_end") && names.contains("started_at, finished_at")
        );
    }
}
