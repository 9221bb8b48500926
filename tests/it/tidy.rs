//! The house rules, as tests: who may name whom, how long a file may be, where
//! SQL and wasmtime live.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ has a parent")
        .to_owned()
}

/// Every file below `folder` with this extension, as (path from the root, text).
fn files(folder: &str, extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = fs::read_to_string(&path).expect("a source file is UTF-8");
                let path = path.strip_prefix(root()).expect("below the root");
                found.push((path.to_string_lossy().into_owned(), text));
            }
        }
    }
    assert!(
        !found.is_empty(),
        "no .{extension} files in {folder}: did it move?"
    );
    found.sort();
    found
}

/// The part of a file that is not its own test module.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]").next().unwrap_or(text)
}

fn is_test_file(path: &str) -> bool {
    path.contains("/tests")
        || path.contains("testdb")
        || path.contains("/fail/")
        || path.starts_with("tests/")
}

#[track_caller]
fn assert_none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// Which rooms a room may name, from ARCHITECTURE.md.
const ARROWS: &[(&str, &[&str])] = &[
    ("task", &[]),
    ("store", &["task"]),
    ("sandbox", &["task"]),
    ("plugin", &["task", "sandbox"]),
    ("engine", &["task", "store", "plugin"]),
    ("http", &["task", "store", "plugin", "engine"]),
    ("setup", &[]),
];

#[test]
fn rooms_name_only_the_rooms_below_them() {
    let rooms = [
        "task", "store", "sandbox", "plugin", "engine", "http", "cli", "setup", "config",
    ];
    let mut broken = Vec::new();
    for (room, allowed) in ARROWS {
        for (path, text) in files(&format!("runner/src/{room}"), "rs") {
            if is_test_file(&path) {
                continue;
            }
            for (number, line) in text
                .lines()
                .enumerate()
                .filter(|(_, line)| !line.trim_start().starts_with("//"))
            {
                for other in rooms {
                    let named = line.contains(&format!("crate::{other}::"))
                        || line.contains(&format!("crate::{other};"));
                    if named && other != *room && !allowed.contains(&other) {
                        broken.push(format!("{path}:{}: `{room}` names `{other}`", number + 1));
                    }
                }
            }
        }
    }
    assert_none(&broken, "an arrow goes up (ARCHITECTURE.md has the map)");
}

#[test]
fn wasmtime_stays_in_the_sandbox_and_postgres_in_the_store() {
    let mut broken = Vec::new();
    for (path, text) in files("runner/src", "rs") {
        for (number, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            let uses = |word: &str| line.contains(&format!("{word}::"));
            if uses("wasmtime") && !path.starts_with("runner/src/sandbox") {
                broken.push(format!(
                    "{path}:{}: wasmtime outside the sandbox",
                    number + 1
                ));
            }
            if uses("tokio_postgres") && !path.starts_with("runner/src/store") {
                broken.push(format!(
                    "{path}:{}: the driver outside the store",
                    number + 1
                ));
            }
        }
    }
    assert_none(&broken, "a library leaves its room");
}

#[test]
fn the_task_room_is_pure() {
    let mut broken = Vec::new();
    for (path, text) in files("runner/src/task", "rs") {
        for word in [
            "tokio",
            "SystemTime",
            "Instant::now",
            "Timestamp::now",
            "rand::",
            "std::fs",
            "std::net",
            "std::env",
        ] {
            if without_tests(&text).contains(word) {
                broken.push(format!("{path}: {word}"));
            }
        }
    }
    assert_none(&broken, "`task` does no IO and reads no clock");
}

#[test]
fn sql_lives_in_sql_files() {
    let starts = [
        "SELECT ",
        "INSERT INTO ",
        "UPDATE ",
        "DELETE FROM ",
        "WITH ",
    ];
    let mut broken = Vec::new();
    for (path, text) in files("runner/src", "rs") {
        if is_test_file(&path) {
            continue;
        }
        for (number, line) in without_tests(&text).lines().enumerate() {
            if starts
                .iter()
                .any(|start| line.contains(&format!("\"{start}")))
            {
                broken.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none(&broken, "SQL text outside store/sql and migrations");
}

#[test]
fn every_statement_says_who_calls_it_and_every_module_what_it_owns() {
    let statements = files("runner/src/store/sql", "sql");
    let mut modules = files("runner/src", "rs");
    modules.extend(files("sdk/src", "rs"));
    modules.extend(files("sdk/macros/src", "rs"));
    let statements = statements
        .into_iter()
        .filter(|(_, text)| !text.starts_with("--"));
    let modules = modules
        .into_iter()
        .filter(|(path, text)| !text.starts_with("//!") && !is_test_file(path));
    let broken: Vec<String> = statements.chain(modules).map(|(path, _)| path).collect();
    assert_none(&broken, "no header comment");
}

#[test]
fn no_file_is_longer_than_four_hundred_lines_of_code() {
    let mut broken = Vec::new();
    for folder in ["runner", "sdk", "plugins", "tests"] {
        for (path, text) in files(folder, "rs") {
            let is_code =
                |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
            let n_lines = without_tests(&text).lines().filter(is_code).count();
            if n_lines > 400 && !path.contains("bindings") && !is_test_file(&path) {
                broken.push(format!("{path}: {n_lines}"));
            }
        }
    }
    assert_none(&broken, "split these by meaning");
}

#[test]
fn tests_wait_for_conditions_and_nothing_is_left_unfinished() {
    let mut broken = Vec::new();
    for folder in ["runner", "sdk", "plugins", "tests"] {
        for (path, text) in files(folder, "rs")
            .into_iter()
            .filter(|(path, _)| !path.ends_with("tidy.rs"))
        {
            for word in ["todo!(", "unimplemented!(", "FIXME", "XXX"] {
                if text.contains(word) {
                    broken.push(format!("{path}: {word}"));
                }
            }
            if path.starts_with("tests/it")
                && (text.contains("thread::sleep(") || text.contains("time::sleep("))
            {
                broken.push(format!("{path}: a bare sleep"));
            }
        }
    }
    assert_none(&broken, "unfinished, or asleep");
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let home = ["/ro", "ot/"].concat();
    let work = ["/wo", "rk/"].concat();
    let mut broken = Vec::new();
    for (folder, extension) in [
        ("runner", "rs"),
        ("sdk", "rs"),
        ("tests", "rs"),
        ("runner", "sql"),
        ("migrations", "sql"),
        ("docs", "md"),
        ("plugins", "rs"),
        ("plugins", "toml"),
    ] {
        for (path, text) in files(folder, extension) {
            if text.contains(&home) || text.contains(&work) {
                broken.push(path);
            }
        }
    }
    assert_none(&broken, "a path of one machine");
}
