//! Commands, names and paths in the documents exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pgtq_task::State;
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
        "docs/operate.md",
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

/// The arrows of the Mermaid diagram of task states in a text. `[*]` is no state.
fn arrows(text: &str) -> BTreeSet<(State, State)> {
    let (_, rest) = text
        .split_once("stateDiagram-v2\n")
        .expect("a state diagram");
    let diagram = rest.split("```").next().unwrap_or_default();
    let mut found = BTreeSet::new();
    for line in diagram.lines().filter(|line| !line.trim().is_empty()) {
        let (arrow, label) = line.split_once(": ").unwrap_or((line, ""));
        let (from, to) = arrow.split_once(" --> ").expect("FROM --> TO");
        let (from, to) = (from.trim(), to.trim());
        if [from, to].contains(&"[*]") {
            continue;
        }
        let state = |name| State::parse(name).unwrap_or_else(|| panic!("no state {name}"));
        assert!(!label.is_empty(), "an arrow names its operations: {line}");
        let is_new = found.insert((state(from), state(to)));
        assert!(is_new, "two arrows: {line}");
    }
    found
}

#[test]
fn the_diagram_of_states_has_the_transitions_of_the_code() {
    let mut legal = BTreeSet::new();
    for from in State::ALL {
        let next = State::ALL.into_iter().filter(|to| from.may_become(*to));
        legal.extend(next.map(|to| (from, to)));
    }
    assert_eq!(arrows(&document("ARCHITECTURE.md")), legal);
}

#[tokio::test]
async fn every_function_and_view_in_the_documents_exists() {
    let fixture = Fixture::with(&[]).await;
    let functions = "SELECT proname FROM pg_proc WHERE pronamespace = 'pgtq'::regnamespace";
    let views = "SELECT relname FROM pg_class WHERE relnamespace = 'pgtq'::regnamespace AND relkind IN ('v', 'r', 'p', 'S')";
    let functions = fixture.sql(functions).await;
    let views = fixture.sql(views).await;
    let mut n_names = 0;
    for path in ["README.md", "docs/app.md", "docs/sql.md"] {
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

/// Every public page, as a path from the root.
fn pages() -> Vec<String> {
    let mut folders = vec![String::new()];
    let mut found = vec![];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(repository().join(&folder)).expect("a directory") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{folder}{name}");
            if entry.path().is_dir() {
                if !name.starts_with('.') && name != "target" && name != "node_modules" {
                    folders.push(path + "/");
                }
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() >= 15, "few pages: {found:?}");
    found
}

/// The paths and anchors that the links of a page name.
fn links(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let code = text.split("```").step_by(2);
    let targets = code.flat_map(|part| part.split("](").skip(1));
    targets
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.contains("://"))
        .map(|link| match link.split_once('#') {
            Some((path, anchor)) => (path, Some(anchor)),
            None => (link, None),
        })
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let code = text.split("\n```").step_by(2);
    code.flat_map(str::lines)
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            heading
                .chars()
                .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

#[test]
fn every_link_leads_to_a_page_and_its_heading() {
    let mut broken = Vec::new();
    for page in &pages() {
        let text = document(page);
        let folder = Path::new(page).parent().expect("a page has a folder");
        for (path, anchor) in links(&text) {
            let target = if path.is_empty() {
                repository().join(page)
            } else {
                repository().join(folder).join(path)
            };
            let is_broken = match anchor {
                Some(anchor) => match fs::read_to_string(&target) {
                    Ok(text) => !anchors(&text).contains(anchor),
                    Err(_) => true,
                },
                None => !target.exists(),
            };
            if is_broken {
                broken.push(format!("{page}: {path}#{}", anchor.unwrap_or_default()));
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

#[test]
fn no_cell_of_a_table_holds_a_paragraph() {
    const MOST_WORDS: usize = 20;
    let mut broken = Vec::new();
    for page in &pages() {
        let text = document(page);
        let prose = text.split("\n```").step_by(2);
        for row in prose.flat_map(str::lines).filter(|l| l.starts_with('|')) {
            let row = row.replace("\\|", " ");
            let words = row.split('|').map(|cell| cell.split_whitespace().count());
            if words.max() > Some(MOST_WORDS) {
                broken.push(format!("{page}: {row}"));
            }
        }
    }
    assert_eq!(broken, [""; 0], "write text below the table");
}

#[test]
fn every_page_can_be_reached_from_the_readme() {
    let root = fs::canonicalize(repository()).expect("the repository");
    let mut reached = BTreeSet::new();
    let mut open = vec![root.join("README.md")];
    while let Some(page) = open.pop() {
        if !reached.insert(page.clone()) {
            continue;
        }
        let text = fs::read_to_string(&page).expect("a page");
        let folder = page.parent().expect("a page has a folder");
        for (path, _) in links(&text) {
            if path.ends_with(".md") {
                open.push(fs::canonicalize(folder.join(path)).expect("a linked page"));
            }
        }
    }
    let missing: Vec<String> = pages()
        .into_iter()
        .filter(|page| !reached.contains(&root.join(page)))
        .collect();
    assert_eq!(missing, [""; 0], "no page links to these");
}

#[test]
fn every_path_in_a_document_exists() {
    let mut missing = Vec::new();
    for page in &pages() {
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
fn every_test_that_the_documents_name_exists() {
    let mut all = String::new();
    for dir in ["runner", "sdk", "tests"] {
        code(&repository().join(dir), &mut all);
    }
    let text = ["RELIABILITY.md", "CONTRIBUTING.md", "migrations/README.md"]
        .map(document)
        .concat();
    let named: BTreeSet<&str> = text
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

/// The messages of pgtq that a page quotes: what is in backticks in a bold start of an entry.
fn quoted_messages(text: &str) -> Vec<String> {
    let entries = text.split("\n\n").flat_map(|part| part.split("\n- "));
    let starts = entries
        .filter_map(|entry| entry.trim_start_matches("- ").strip_prefix("**"))
        .filter_map(|entry| entry.split(".**").next());
    starts
        .flat_map(|start| {
            let fence = if start.contains("``") { "``" } else { "`" };
            start.split(fence).skip(1).step_by(2)
        })
        .map(|message| message.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|message| message.contains(' '))
        .collect()
}

#[test]
fn every_message_that_operations_quotes_is_in_the_program() {
    let mut all = String::new();
    code(&repository().join("runner"), &mut all);
    for file in ["crashes", "runner"] {
        all += &document(&format!("migrations/functions/{file}.sql"));
    }
    // A text may continue on the next line of the source.
    let all = all.replace("\\\n", " ");
    let all = all.split_whitespace().collect::<Vec<_>>().join(" ");
    let messages = quoted_messages(&document("docs/operate.md"));
    for message in &messages {
        // Capitals stand for what differs, and what is in a message in backticks is a name.
        let tokens = message.split([' ', '`']).collect::<Vec<_>>();
        let is_placeholder = |token: &&str| {
            !token.is_empty() && token.chars().all(|c| c.is_ascii_uppercase() || c == ',')
        };
        for part in tokens.split(is_placeholder as fn(&&str) -> bool) {
            let part = part.join(" ");
            let part = part.trim();
            let is_long = part.matches(' ').count() >= 2;
            assert!(!is_long || all.contains(part), "{message}: `{part}`");
        }
    }
    assert!(messages.len() > 20, "few messages were found: {messages:?}");
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

#[test]
fn python_in_the_documents_is_valid() {
    let mut blocks = Vec::new();
    for page in pages() {
        let text = document(&page);
        let found = text.split("\n```python\n").skip(1);
        let found = found.filter_map(|rest| Some(rest.split_once("\n```")?.0.to_owned()));
        blocks.extend(found.map(|block| (page.clone(), block)));
    }
    assert!(blocks.len() >= 2, "few blocks: {}", blocks.len());
    for (page, block) in blocks {
        let parse = std::process::Command::new("python3")
            .args(["-c", "import ast, sys; ast.parse(sys.argv[1])", &block])
            .output();
        match parse {
            Ok(output) => {
                let error = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{page}: {error}\n{block}");
            }
            Err(error) => eprintln!("not checked, because python3 cannot be run: {error}"),
        }
    }
}
