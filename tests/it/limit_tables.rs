//! The tables of limits in README and docs/limits.md come from `Limits::FIELDS`.

use std::fs;

use pgtq_task::{LimitField, Limits};
use pgtq_tests::repository;

const BEGIN: &str = "<!-- limits: generated -->\n";
const END: &str = "<!-- /limits -->";

/// The largest value that a handler can request; empty if it cannot request more.
fn maximum(field: &LimitField) -> String {
    match field.cap_factor {
        1 => String::new(),
        _ => field.text(&Limits::default().cap()),
    }
}

/// The short table: what the limits are.
fn short() -> String {
    let mut table = "| key | limit | default | maximum request |\n|---|---|---|---|\n".to_owned();
    for field in Limits::FIELDS {
        let default = field.text(&Limits::default());
        let maximum = maximum(field);
        table += &format!(
            "| `{}` | {} | {default} | {maximum} |\n",
            field.name, field.what
        );
    }
    table
}

/// The long table: also what happens at a limit.
fn long() -> String {
    let mut table = String::from(
        "| key | limit | default | maximum request | at the limit |\n|---|---|---|---|---|\n",
    );
    for field in Limits::FIELDS {
        table += &format!(
            "| `{}` | {} | {} | {} | {} |\n",
            field.name,
            field.what,
            field.text(&Limits::default()),
            maximum(field),
            field.reached
        );
    }
    table
}

/// Compares the generated part of a page; `PGTQ_UPDATE=1` writes it.
fn compare(page: &str, table: &str) {
    let path = repository().join(page);
    let text = fs::read_to_string(&path).expect("the page exists");
    let (before, rest) = text
        .split_once(BEGIN)
        .expect("the page has a generated table");
    let (shown, after) = rest.split_once(END).expect("the generated table ends");
    if std::env::var_os("PGTQ_UPDATE").is_some() {
        let text = format!("{before}{BEGIN}{table}{END}{after}");
        fs::write(&path, text).expect("the page can be written");
        return;
    }
    assert_eq!(shown, table, "{page}: PGTQ_UPDATE=1 writes the table");
}

#[test]
fn the_documents_show_the_limits_of_the_code() {
    compare("README.md", &short());
    compare("docs/limits.md", &long());
}

#[test]
fn every_limit_is_read_by_the_file_that_enforces_it() {
    for field in Limits::FIELDS {
        let path = repository().join("runner").join(field.enforced_in);
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {}: {error}", field.name, path.display()));
        let read = format!("limits.{}", field.name);
        assert!(
            text.contains(&read),
            "{} does not read `{read}`",
            field.enforced_in
        );
    }
}
