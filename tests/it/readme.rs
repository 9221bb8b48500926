//! Commands, names and paths in the documents exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pgtq_tests::{program, repository};

use crate::fixture::Fixture;

fn document(path: &str) -> String {
    fs::read_to_string(repository().join(path)).expect("the document exists")
}

/// The commands in the `sh` blocks of a document, as words after `pgtq`.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let blocks = text.split("```").skip(1).step_by(2);
    for line in blocks
        .filter_map(|block| block.strip_prefix("sh\n"))
        .flat_map(str::lines)
    {
        let line = line.split(" #").next().unwrap_or_default();
        for command in line.split("&&") {
            if let Some(words) = command.trim().strip_prefix("pgtq ") {
                found.push(words.split_whitespace().map(str::to_owned).collect());
            }
        }
    }
    found
}

#[test]
fn every_command_and_flag_in_the_documents_exists() {
    let mut shown = BTreeSet::new();
    for path in [
        "README.md",
        "docs/plugins.md",
        "docs/sql.md",
        "docs/grants.md",
        "docs/bench.md",
    ] {
        for words in commands(&document(path)) {
            let verb = words.first().cloned().unwrap_or_default();
            let output = program().args([&*verb, "--help"]).output().unwrap();
            assert!(
                output.status.success(),
                "{path} shows `pgtq {}`",
                words.join(" ")
            );
            let help = String::from_utf8_lossy(&output.stdout).into_owned();
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().unwrap_or(flag);
                assert!(
                    help.contains(flag),
                    "{path} shows `pgtq {}`",
                    words.join(" ")
                );
            }
            shown.insert(verb);
        }
    }
    assert!(shown.len() >= 7, "few commands were found: {shown:?}");
}

/// Every `pgtq.name` in a text, and whether `(` follows.
fn names(text: &str) -> BTreeSet<(String, bool)> {
    let mut found = BTreeSet::new();
    for part in text.split("pgtq.").skip(1) {
        let end = part
            .find(|c: char| !c.is_ascii_lowercase() && c != '_')
            .unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        if !name.is_empty() && name != "toml" {
            found.insert((name.to_owned(), rest.starts_with('(')));
        }
    }
    found
}

#[tokio::test]
async fn every_function_and_view_in_the_documents_exists() {
    let fixture = Fixture::with(&[]).await;
    let functions = "SELECT proname FROM pg_proc WHERE pronamespace = 'pgtq'::regnamespace";
    let views = "SELECT relname FROM pg_class WHERE relnamespace = 'pgtq'::regnamespace AND relkind IN ('v', 'r', 'p', 'S')";
    let functions = fixture.sql(functions).await;
    let views = fixture.sql(views).await;
    let mut n_names = 0;
    for path in ["README.md", "docs/sql.md"] {
        for (name, called) in names(&document(path)) {
            let there = |list: &str| list.lines().any(|known| known == name);
            // Prose may name a function without arguments.
            let is_setting = !called && name == "notify";
            let exists = there(&functions) || (!called && there(&views)) || is_setting;
            assert!(exists, "{path} names pgtq.{name}");
            n_names += 1;
        }
    }
    assert!(n_names > 20, "few names were found: {n_names}");
}

/// The text of every Rust file below a directory.
fn code(dir: &Path, into: &mut String) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            code(&path, into);
        } else if path.extension().is_some_and(|end| end == "rs") {
            into.push_str(&fs::read_to_string(&path).expect("text"));
        }
    }
}

/// The paths in backticks that begin with a folder of the repository.
fn named_paths(text: &str) -> impl Iterator<Item = &str> {
    const FOLDERS: [&str; 7] = [
        "runner/",
        "tests/",
        "sdk/",
        "migrations/",
        "plugins/",
        "docs/",
        ".ci/",
    ];
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)))
        // Placeholders such as NAME, patterns, and commands.
        .filter(|word| !word.contains("NAME") && !word.contains("NNNN"))
        .filter(|word| !word.contains(['*', '{', ' ', ':']))
}

#[test]
fn every_path_in_a_document_exists() {
    let mut missing = Vec::new();
    for page in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "PERFORMANCE.md",
        "RELIABILITY.md",
        "docs/bench.md",
        "docs/operate.md",
        "docs/plugins.md",
        "docs/sql.md",
        "migrations/README.md",
    ] {
        let text = document(page);
        for path in named_paths(&text) {
            if !repository().join(path).exists() {
                missing.push(format!("{page}: {path}"));
            }
        }
    }
    assert_eq!(missing, [""; 0]);
}

#[test]
fn every_crate_in_a_cargo_install_command_exists() {
    let mut text = document("README.md") + &document("CONTRIBUTING.md");
    code(&repository().join("runner"), &mut text);
    let paths = text.split("cargo install --path ").skip(1);
    let paths: Vec<&str> = paths
        .filter_map(|rest| rest.split(['`', ' ', '\n', '"']).next())
        .collect();
    assert!(paths.len() >= 2, "{paths:?}");
    for path in paths {
        let manifest = repository().join(path).join("Cargo.toml");
        assert!(manifest.is_file(), "no crate in {path}");
    }
}

#[test]
fn every_test_named_in_reliability_md_exists() {
    let mut all = String::new();
    for dir in ["runner", "sdk", "tests"] {
        code(&repository().join(dir), &mut all);
    }
    let report = document("RELIABILITY.md");
    let named: BTreeSet<&str> = report
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.matches('_').count() >= 3)
        .filter(|name| {
            name.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
        .collect();
    for name in &named {
        assert!(
            all.contains(&format!("fn {name}(")),
            "there is no test {name}"
        );
    }
    assert!(named.len() > 25, "few tests are named: {named:?}");
}

#[test]
fn the_demo_completes_and_loses_no_task() {
    let output = program()
        .args(["demo", "--exit", "--tasks", "300"])
        .current_dir(repository())
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    assert!(stdout.contains("0 lost"), "{stdout}");
}
