//! Tests of the source code: dependencies between crates and modules, lengths of files,
//! names of types, places of SQL and wasmtime.

use std::collections::BTreeMap;
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

/// The part of a file without its test module.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]").next().unwrap_or(text)
}

fn is_test_file(path: &str) -> bool {
    path.contains("/tests")
        || path.contains("testdb")
        || path.contains("/fail/")
        || path.contains("/examples/")
        || path.contains("/benches/")
        || path.starts_with("tests/")
}

#[track_caller]
fn assert_none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// The dependencies of each crate, as in ARCHITECTURE.md.
const ARROWS: &[(&str, &[&str])] = &[
    ("task", &["contract"]),
    ("setup", &[]),
    ("store", &["task"]),
    ("sandbox", &["contract", "task"]),
    ("engine", &["sandbox", "store", "task"]),
    ("cli", &["engine", "sandbox", "setup", "store", "task"]),
];

/// The crates under `[dependencies]` of a crate's manifest.
fn dependencies(crate_name: &str) -> Vec<String> {
    let path = root().join(format!("runner/{crate_name}/Cargo.toml"));
    let text = fs::read_to_string(&path).expect("a crate has a manifest");
    let (_, rest) = text
        .split_once("\n[dependencies]\n")
        .expect("a manifest has dependencies");
    let section = rest.split("\n[").next().unwrap_or(rest);
    let names = section
        .lines()
        .filter_map(|line| line.split(['.', ' ']).next());
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn crates_depend_only_as_the_map_shows() {
    for (crate_name, arrows) in ARROWS {
        let mut names: Vec<String> = dependencies(crate_name)
            .iter()
            .filter_map(|name| name.strip_prefix("pgtq-").map(str::to_owned))
            .collect();
        names.sort();
        assert_eq!(
            names, *arrows,
            "crate `{crate_name}` (ARCHITECTURE.md has the map)"
        );
    }
}

#[test]
fn the_contract_depends_on_nothing_but_serde() {
    // Every plugin links it.
    assert_eq!(dependencies("../sdk/contract"), ["serde"]);
}

#[test]
fn plugin_and_http_name_only_the_modules_below_them() {
    // Both are modules of the crate `engine`, so cargo does not check this.
    let mut broken = Vec::new();
    for (path, text) in files("runner/engine/src/plugin", "rs") {
        for (number, line) in code_lines(&text) {
            // Includes the path in `pub(in crate::plugin)`.
            let own = line.matches("crate::").count() == line.matches("crate::plugin").count();
            if !own || line.contains("pgtq_store") {
                broken.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    for (path, text) in files("runner/engine/src", "rs") {
        let is_page = path.starts_with("runner/engine/src/http/");
        for (number, line) in code_lines(&text) {
            if !is_page && line.contains("crate::http") {
                broken.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    assert_none(&broken, "an arrow goes up (ARCHITECTURE.md has the map)");
}

/// The lines that are not comments, numbered from 1.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn wasmtime_stays_in_the_sandbox_and_the_driver_in_store_and_setup() {
    for (crate_name, _) in ARROWS {
        let names = dependencies(crate_name);
        let has = |prefix: &str| names.iter().any(|name| name.starts_with(prefix));
        assert_eq!(
            has("wasmtime"),
            *crate_name == "sandbox",
            "wasmtime in `{crate_name}`"
        );
        assert_eq!(
            has("tokio-postgres"),
            // `setup` creates and drops the databases of a server that it started.
            ["store", "setup"].contains(crate_name),
            "the driver in `{crate_name}`"
        );
    }
}

#[test]
fn the_task_room_is_pure() {
    let mut broken = Vec::new();
    for (path, text) in files("runner/task/src", "rs") {
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
    for (path, text) in files("runner", "rs") {
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
    assert_none(
        &broken,
        "SQL text outside runner/store/src/sql and migrations",
    );
}

#[test]
fn every_statement_and_every_module_has_a_header() {
    let statements = files("runner/store/src/sql", "sql");
    let mut modules = files("runner", "rs");
    modules.extend(files("sdk/src", "rs"));
    modules.extend(files("sdk/contract/src", "rs"));
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
    for (path, text) in files("migrations", "sql") {
        let n_lines = text.lines().count();
        if n_lines > 400 {
            broken.push(format!("{path}: {n_lines}"));
        }
    }
    assert_none(&broken, "split these by meaning");
}

/// Names with more than one definition, and why.
const DEFINED_TWICE: &[(&str, &str)] = &[
    ("Manifest", "`task` specialises the contract's type"),
    ("HandlerInfo", "`task` specialises the contract's type"),
    ("Fd", "the same short form in every file of one capability"),
    (
        "Socket",
        "the same short form in every file of one capability",
    ),
];

/// The type that a line of code defines, if any. Aliases inside of an implementation are
/// names of its trait.
fn defined_type(line: &str) -> Option<&str> {
    let code = line.trim_start();
    let code = match code.strip_prefix("pub(") {
        Some(rest) => rest.split_once(") ")?.1,
        None => code.strip_prefix("pub ").unwrap_or(code),
    };
    let (keyword, rest) = code.split_once(' ')?;
    let is_definition = ["struct", "enum", "trait", "union"].contains(&keyword)
        || (keyword == "type" && !line.starts_with(' '));
    let name = rest
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()?;
    (is_definition && name.starts_with(char::is_uppercase)).then_some(name)
}

#[test]
fn no_type_name_is_defined_twice_in_the_runner() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for folder in ["runner", "sdk/contract/src"] {
        for (path, text) in files(folder, "rs") {
            if is_test_file(&path) {
                continue;
            }
            for (number, line) in code_lines(without_tests(&text)) {
                if let Some(name) = defined_type(line) {
                    let place = format!("{path}:{number}");
                    places.entry(name.to_owned()).or_default().push(place);
                }
            }
        }
    }
    places.retain(|_, of_name| of_name.len() > 1);
    let unused: Vec<&str> = DEFINED_TWICE
        .iter()
        .filter(|(name, _)| !places.contains_key(*name))
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(unused, [""; 0], "exceptions that are no longer needed");
    places.retain(|name, _| DEFINED_TWICE.iter().all(|(allowed, _)| name != allowed));
    let broken: Vec<String> = places
        .iter()
        .map(|(name, of_name)| format!("{name}: {}", of_name.join(", ")))
        .collect();
    assert_none(
        &broken,
        "a type name means one thing: name each for what it is",
    );
}

#[test]
fn tests_do_not_sleep_and_no_todo_is_left() {
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
    assert_none(&broken, "unfinished code, or a sleep");
}

#[test]
fn no_file_contains_a_local_path() {
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

/// Nonstandard words and phrases, with the standard terms. Readers of comments, messages
/// and documents know Postgres and other queues.
const DIALECT: &[(&str, &str)] = &[
    ("an__ew", "again"),
    ("ends in wo__rds", "fails with a clear error"),
    ("refused in wo__rds", "rejected with a clear error"),
    ("for e__ver", "without limit"),
    ("so ma__ny", "this many"),
    ("he__ed", "follow"),
    ("misde__eds", "abuse cases"),
    ("unbu__rnt", "without using an attempt"),
    ("who__ever", "name the actor"),
    ("in va__in", "without success"),
    ("to the le__tter", "unchanged"),
    ("at any pr__ice", "within limits"),
    ("goes o__n", "continues"),
    ("gho__sts", "orphaned claims"),
    ("is to__ld", "is notified, receives"),
    ("lets us i__n", "accepts the login"),
    ("signed its__elf", "self-signed"),
    ("hears o__f", "is notified of"),
    ("taken for de__ad", "lease expired"),
    ("code of stra__ngers", "untrusted plugins"),
];

#[test]
fn documents_and_comments_use_standard_terms() {
    let mut all = Vec::new();
    for (folder, extension) in [
        ("runner", "rs"),
        ("runner", "sql"),
        ("migrations", "sql"),
        ("sdk", "rs"),
        ("tests", "rs"),
        ("docs", "md"),
    ] {
        all.extend(files(folder, extension));
    }
    for page in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "PERFORMANCE.md",
        "RELIABILITY.md",
        "SECURITY.md",
    ] {
        let text = fs::read_to_string(root().join(page)).expect("a page");
        all.push((page.to_owned(), text));
    }
    let mut broken = Vec::new();
    for (path, text) in all {
        for (number, line) in text.lines().enumerate() {
            for (word, usual) in DIALECT {
                let word = word.replace("__", "");
                if contains_word(line, &word) {
                    broken.push(format!("{path}:{}: `{word}`: {usual}", number + 1));
                }
            }
        }
    }
    assert_none(&broken, "nonstandard words");
}

/// Whether `line` contains `words` as whole words.
fn contains_word(line: &str, words: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(words).any(|(at, _)| {
        !line[..at].ends_with(is_part) && !line[at + words.len()..].starts_with(is_part)
    })
}
