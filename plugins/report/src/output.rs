//! The report as text, and its file.

use std::fs;
use std::path::Path;

use pgtq_sdk::prelude::*;

use crate::Line;

/// The longest file name.
const NAME_BYTES: usize = 100;

/// The format of a report.
#[data]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Comma-separated values, for spreadsheets (RFC 4180).
    Csv,
    /// One page with one table.
    Html,
}

/// The whole report.
pub(crate) fn write(format: Format, lines: &[Line], total: &Line) -> String {
    match format {
        Format::Csv => csv(lines),
        Format::Html => html(lines, total),
    }
}

fn csv(lines: &[Line]) -> String {
    let mut text = String::from("product,orders,quantity,amount\r\n");
    for line in lines {
        text.push_str(&format!(
            "{},{},{},{}\r\n",
            cell(&line.product),
            line.orders,
            line.quantity,
            amount(line.cents)
        ));
    }
    text
}

/// A string as one cell. A string that a spreadsheet would treat as a formula gets a
/// leading quote, because product names may not be trusted.
fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula {
        &format!("'{text}")
    } else {
        text
    };
    match text.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

fn html(lines: &[Line], total: &Line) -> String {
    let mut text = String::from(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>Orders by product</title>\n<table>\n\
         <tr><th>Product</th><th>Orders</th><th>Quantity</th><th>Amount</th></tr>\n",
    );
    let mut row = |name: &str, line: &Line| {
        text.push_str(&format!(
            "<tr><td>{name}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            line.orders,
            line.quantity,
            amount(line.cents)
        ));
    };
    for line in lines {
        row(&escape(&line.product), line);
    }
    row("<b>Total</b>", total);
    text.push_str("</table>\n");
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// `-12.05` for -1205 cents.
fn amount(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!(
        "{sign}{}.{:02}",
        cents.unsigned_abs() / 100,
        cents.unsigned_abs() % 100
    )
}

/// Checks that `name` is a plain file name: no directories, not hidden.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let is_plain = !name.is_empty() && !name.starts_with('.') && name.bytes().all(legal);
    match is_plain && name.len() <= NAME_BYTES {
        true => Ok(()),
        false => Err(fatal!(
            "`{}` is not a plain file name: use letters, digits and `-_.`, at most {NAME_BYTES}",
            name.escape_debug()
        )
        .code("file")),
    }
}

/// Writes a file atomically: readers see either the old or the new content.
pub(crate) fn save(dir: &Path, name: &str, text: &str) -> Result<()> {
    let part = dir.join(format!("{name}.part"));
    let failed =
        |error: std::io::Error| retry!("write {}: {error}", dir.join(name).display()).code("file");
    fs::write(&part, text).map_err(failed)?;
    fs::rename(&part, dir.join(name)).map_err(failed)
}
