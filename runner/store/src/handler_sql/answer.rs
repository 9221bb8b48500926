//! A statement's answer, as the JSON object of the contract.

use std::error::Error;
use std::pin::pin;

use futures_util::StreamExt as _;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Column, RowStream, Statement};

use crate::handler_sql::budget::ByteBudget;
use crate::handler_sql::decode::{is_readable, quote, write};
use crate::handler_sql::trouble::Trouble;
use pgtq_task::{GuestError, Limits};

/// Rejects a statement with an unreadable column before it runs.
pub(super) fn check(statement: &Statement) -> Result<(), GuestError> {
    match statement
        .columns()
        .iter()
        .find(|column| !is_readable(column.type_()))
    {
        None => Ok(()),
        Some(column) => Err(GuestError::new("invalid", unreadable(column))),
    }
}

/// Reads all rows, up to the limits.
pub(super) async fn read(
    statement: &Statement,
    rows: RowStream,
    limits: &Limits,
    budget: &ByteBudget,
) -> Result<String, Trouble> {
    let mut rows = pin!(rows);
    let most = usize::try_from(limits.sql_bytes).unwrap_or(usize::MAX);
    let mut out = head(statement);
    let mut n_rows = 0;
    while let Some(row) = rows.next().await {
        let row = row.map_err(|error| Trouble::of(&error, budget, limits.sql_bytes))?;
        if n_rows == limits.sql_rows {
            let message = format!(
                "the result has more than {n_rows} rows, the limit of one statement; ask for less at a time with LIMIT, or raise `limits.sql_rows`"
            );
            return Err(Trouble::Broken(GuestError::new("limit", message)));
        }
        out.push_str(if n_rows > 0 { ",[" } else { "[" });
        for (n, column) in row.columns().iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            let value: Option<Raw<'_>> = row.try_get(n).map_err(|_| malformed(column))?;
            match value {
                None => out.push_str("null"),
                Some(Raw(raw)) => {
                    let written = write(&mut out, column.type_(), raw, most);
                    if written.is_err() && out.len() <= most {
                        return Err(malformed(column));
                    }
                }
            }
            if out.len() > most {
                let message = format!(
                    "the result has more than {} bytes as JSON, the limit of one statement; ask for less at a time, or raise `limits.sql_bytes`",
                    limits.sql_bytes
                );
                return Err(Trouble::Broken(GuestError::new("limit", message)));
            }
        }
        out.push(']');
        n_rows += 1;
    }
    let n_affected = rows.rows_affected().unwrap_or(0);
    out.push_str(&format!("],\"affected\":{n_affected}}}"));
    Ok(out)
}

fn head(statement: &Statement) -> String {
    let mut out = String::from("{\"columns\":[");
    for (n, column) in statement.columns().iter().enumerate() {
        out.push_str(if n > 0 { ",{\"name\":" } else { "{\"name\":" });
        quote(&mut out, column.name());
        out.push_str(",\"type\":");
        quote(&mut out, &type_name(column.type_()));
        out.push('}');
    }
    out.push_str("],\"rows\":[");
    out
}

/// `int4[]` for what Postgres calls `_int4`.
fn type_name(ty: &Type) -> String {
    match ty.name().strip_prefix('_') {
        Some(element) => format!("{element}[]"),
        None => ty.name().to_owned(),
    }
}

fn unreadable(column: &Column) -> String {
    format!(
        "column `{}` has the type {}, which cannot be read; cast it: {}::text",
        column.name(),
        type_name(column.type_()),
        column.name()
    )
}

/// A date after year 9999, or text that is not UTF-8. The statement has run.
fn malformed(column: &Column) -> Trouble {
    let message = format!(
        "column `{}` of type {} holds a value that cannot be read; cast it: {}::text",
        column.name(),
        type_name(column.type_()),
        column.name()
    );
    Trouble::Broken(GuestError::new("invalid", message))
}

/// A value's raw bytes, for any type.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Raw(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
