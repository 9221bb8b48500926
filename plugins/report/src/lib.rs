//! Reports over many rows, as CSV or HTML.
//!
//! The handler reads the table `orders` in pages and adds each page to the table
//! `report_lines`. After each page, `ctx.sql().checkpoint(...)` commits the sums and
//! the position together: after a crash the next attempt continues with the next page,
//! and no order is counted twice. (For sums alone, one `GROUP BY` would be enough.
//! Pages are useful for work that SQL cannot do, and for large tables.)
//!
//! The tables, and a role with the minimum of privileges:
//!
//! ```sql
//! CREATE TABLE public.orders (
//!     id bigint PRIMARY KEY, day date NOT NULL, product text NOT NULL,
//!     quantity bigint NOT NULL, cents bigint NOT NULL
//! );
//! CREATE TABLE public.report_lines (
//!     report bigint, product text, orders bigint NOT NULL, quantity bigint NOT NULL,
//!     cents bigint NOT NULL, PRIMARY KEY (report, product)
//! );
//! CREATE ROLE reports LOGIN PASSWORD '...';
//! GRANT SELECT ON public.orders TO reports;
//! GRANT SELECT, INSERT, UPDATE ON public.report_lines TO reports;
//! SELECT pgtq.allow_sql('reports');
//! ```
//!
//! The grants in `pgtq.toml`, for the plugin file `report.wasm`:
//!
//! ```toml
//! [grants.report]
//! sql = { role = "reports", password = "reports_db" }
//! files."/reports" = { dir = "/srv/reports", write = true }  # for the argument `file`
//!
//! [secrets.reports_db]
//! file = "/run/secrets/reports_db"
//! ```

mod output;

use std::collections::BTreeMap;
use std::path::Path;

use pgtq_sdk::prelude::*;

use output::Format;

/// Orders per page. A page is one transaction: larger pages hold locks longer, smaller
/// ones commit more often.
const PAGE: usize = 500;

/// The maximum number of lines of a report.
const LINES: usize = 5_000;

/// The longest report in the task's result, which is limited to 1 MiB of JSON.
const TEXT_BYTES: usize = 512 * 1024;

/// Sum up orders by product.
///
/// The sums remain in `report_lines`, under the task's id.
#[handler(
    retries = 20,
    backoff = exponential(1s..10m),
    timeout = 2m,
    needs(sql, files = "/reports")
)]
fn order_report(
    ctx: &Ctx,
    /// The first day, as in `2026-01-31`. Without it, there is no lower bound.
    from: Option<String>,
    /// The last day. Without it, there is no upper bound.
    to: Option<String>,
    /// The format of the report.
    #[default(Format::Csv)]
    format: Format,
    /// The file name of the report in the granted directory. Without it, the text is in the result.
    file: Option<String>,
) -> Result<Report> {
    if let Some(file) = &file {
        output::check_name(file)?;
    }
    let mut place = match ctx.state().load::<Place>()? {
        Some(place) => {
            info!(
                orders = place.orders,
                "continuing after order {}", place.last
            );
            place
        }
        None => Place {
            last: i64::MIN,
            orders: 0,
            of: count(ctx, &from, &to)?,
        },
    };
    loop {
        if ctx.is_cancelled() {
            return Err(cancel(format!("stopped after {} orders", place.orders)));
        }
        let page = page(ctx, place.last, &from, &to)?;
        let Some(newest) = page.last() else {
            break;
        };
        place.last = newest.id;
        place.orders += page.len() as u64;
        add(ctx, &page)?;
        ctx.sql().checkpoint(&place)?;
        let fraction = place.orders as f64 / place.of.max(place.orders) as f64;
        ctx.progress(fraction, format!("{} of {} orders", place.orders, place.of));
    }
    finish(ctx, format, file, Path::new("/reports"))
}

/// The position of the report, saved for the next attempt.
#[data]
#[derive(Debug, PartialEq)]
struct Place {
    /// The id of the last counted order.
    last: i64,
    /// The number of orders counted.
    orders: u64,
    /// The number of orders at the start, for progress reports.
    of: u64,
}

/// A row of `orders`.
#[data]
struct Order {
    id: i64,
    product: String,
    quantity: i64,
    cents: i64,
}

/// A row of `report_lines`.
#[data]
#[derive(Debug, Default, PartialEq)]
pub struct Line {
    /// The product.
    pub product: String,
    /// The number of orders.
    pub orders: i64,
    /// The quantity sold.
    pub quantity: i64,
    /// The revenue in cents.
    pub cents: i64,
}

/// The result of `order_report`.
#[data]
#[derive(Debug)]
pub struct Report {
    /// The sums of all lines; `product` is empty.
    pub total: Line,
    /// The number of products.
    pub lines: usize,
    /// The report, if it is not in a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The file name, if the report is in a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

fn count(ctx: &Ctx, from: &Option<String>, to: &Option<String>) -> Result<u64> {
    let row = ctx.sql().query_one(
        "SELECT count(*) FROM orders
         WHERE ($1::date IS NULL OR day >= $1) AND ($2::date IS NULL OR day <= $2)",
        (from, to),
    );
    bad_date(row)?.into()
}

/// The next orders after `last`. Keyset pagination: every page costs the same.
fn page(ctx: &Ctx, last: i64, from: &Option<String>, to: &Option<String>) -> Result<Vec<Order>> {
    let rows = ctx.sql().query(
        "SELECT id, product, quantity, cents FROM orders
         WHERE id > $1 AND ($2::date IS NULL OR day >= $2) AND ($3::date IS NULL OR day <= $3)
         ORDER BY id LIMIT $4",
        (last, from, to, PAGE),
    );
    bad_date(rows)?.into_vec()
}

/// Makes an invalid date a final error (SQLSTATE class 22: data exception).
fn bad_date<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| match error.code_text().starts_with("sql:22") {
        true => error.fatal(),
        false => error,
    })
}

/// Adds a page's sums to the report's lines, in one statement. The checkpoint commits
/// it together with the position, so that no page is added twice.
fn add(ctx: &Ctx, page: &[Order]) -> Result<()> {
    let mut lines: BTreeMap<&str, Line> = BTreeMap::new();
    for order in page {
        let line = lines.entry(&order.product).or_default();
        line.product.clone_from(&order.product);
        line.orders += 1;
        line.quantity += order.quantity;
        line.cents += order.cents;
    }
    let lines: Vec<Line> = lines.into_values().collect();
    ctx.sql().execute(
        "INSERT INTO report_lines AS old (report, product, orders, quantity, cents)
         SELECT $1, product, orders, quantity, cents
         FROM jsonb_to_recordset($2::jsonb)
             AS line(product text, orders bigint, quantity bigint, cents bigint)
         ON CONFLICT (report, product) DO UPDATE SET
             orders = old.orders + excluded.orders,
             quantity = old.quantity + excluded.quantity,
             cents = old.cents + excluded.cents",
        (ctx.id(), json!(lines)),
    )?;
    Ok(())
}

/// Writes the report from its lines, which contain the pages of all attempts.
fn finish(ctx: &Ctx, format: Format, file: Option<String>, dir: &Path) -> Result<Report> {
    let lines: Vec<Line> = ctx
        .sql()
        .query(
            "SELECT product, orders, quantity, cents FROM report_lines
             WHERE report = $1 ORDER BY cents DESC, product LIMIT $2",
            (ctx.id(), LINES + 1),
        )?
        .into_vec()?;
    if lines.len() > LINES {
        return Err(fatal!("the report has more than {LINES} lines").code("lines"));
    }
    let mut total = Line::default();
    for line in &lines {
        total.orders += line.orders;
        total.quantity += line.quantity;
        total.cents += line.cents;
    }
    let text = output::write(format, &lines, &total);
    let text = match &file {
        Some(name) => {
            output::save(dir, name, &text)?;
            None
        }
        None if text.len() > TEXT_BYTES => {
            return Err(fatal!(
                "the report has {} bytes, more than {TEXT_BYTES}: set `file`",
                text.len()
            )
            .code("text"));
        }
        None => Some(text),
    };
    info!(
        lines = lines.len(),
        "finished the report over {} orders", total.orders
    );
    Ok(Report {
        lines: lines.len(),
        total,
        text,
        file,
    })
}

#[cfg(test)]
mod tests;
