//! Invalid names in every interface.

use std::fs;

use pgtq_tests::{cli, wait_until};

use super::{Target, bombs};
use crate::tasks::{UNFINISHED, database};

/// Invalid names. All except the first two, with a slash, are valid file names.
const NAMES: &[&str] = &[
    "",
    " ",
    "a b",
    "a\tb",
    "a\nb",
    "a\u{1b}[31m",
    "a/b",
    "../../etc/passwd",
    "a'b",
    "a\"b",
    "a;DROP TABLE x",
    "ä",
    "а",
    "\u{202e}a",
    "\u{200b}",
    "😀",
    "a%s",
    "a\\",
    "$(id)",
    "a,b",
    "{}",
    "*",
    "a@1.0.0",
    "a\u{7f}",
];

/// Panics if the text has control characters other than line ends and tabs.
#[track_caller]
fn assert_printable(text: &str) {
    let unprintable = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t') || ('\u{202a}'..='\u{202e}').contains(&c)
    };
    assert!(!text.contains(unprintable), "{text:?}");
}

/// All interfaces have the same rule for names.
#[test]
fn an_invalid_name_is_rejected_by_every_interface() {
    let (database, sql) = database();
    let long = "n".repeat(129);
    for name in NAMES.iter().copied().chain([long.as_str()]) {
        let quoted = name.replace('\'', "''");
        for statement in [
            format!("SELECT pgtq.push('{quoted}', '[]')"),
            format!("SELECT pgtq.push('h', '[]', queue => '{quoted}')"),
        ] {
            let refused = sql.try_rows(&statement).expect_err(&statement);
            assert!(refused.as_db_error().is_some(), "{statement}: {refused:?}");
        }
        let flag = format!("--x{name}");
        for words in [
            vec!["push", "--allow-unknown", "--", name],
            vec!["push", "--allow-unknown", "--queue", name, "h"],
            vec!["pause", "--", name],
            vec!["push", "--allow-unknown", "h", &flag],
            vec![name],
        ] {
            let refused = cli(database.url(), &words, "");
            assert!(
                matches!(refused.code, Some(1..=5)),
                "{words:?}: {refused:?}"
            );
            assert_printable(&refused.stderr);
        }
    }
    assert_eq!(sql.number(UNFINISHED), 0);
}

/// Names of handlers are checked before compilation. Names of files are printed escaped.
#[test]
fn an_invalid_name_is_rejected_in_a_manifest_and_harmless_as_a_file_name() {
    let target = Target::start();
    let dir = target.dir.path();
    let long = "n".repeat(129);
    let mut expected = Vec::new();
    for (n, name) in NAMES.iter().chain([&long.as_str()]).enumerate() {
        let record = serde_json::json!({ "name": name }).to_string();
        let file = format!("manifest{n}.wasm");
        fs::write(dir.join(&file), bombs::listing(&record)).expect("a file is written");
        expected.push((file, "is not a name"));
        if name.is_empty() || name.contains('/') {
            continue;
        }
        fs::write(dir.join(format!("{name}.wasm")), "no plugin").expect("a file is written");
        let shown: String = name
            .chars()
            .map(|c| match c.is_control() || c == '\u{202e}' {
                true => '\u{fffd}',
                false => c,
            })
            .collect();
        expected.push((format!("{shown}.wasm"), ""));
    }
    for (file, word) in &expected {
        let refused = |line: &str| {
            let rejected = line.split_once(&format!("plugin {file}: refused"));
            rejected.is_some_and(|(_, reason)| reason.contains(word))
        };
        wait_until(&format!("{file} is refused"), || {
            target.runner.stderr().lines().any(refused)
        });
    }
    assert_printable(&target.runner.stderr());
    for words in [&["plugins"][..], &["plugins", "--json"]] {
        let listed = cli(target.database.url(), words, "").success();
        assert_printable(&listed);
        assert!(listed.contains("manifest0.wasm"), "{listed}");
    }
    for name in NAMES.iter().filter(|name| !name.contains('/')) {
        let file = dir.join(format!("{name}.wasm"));
        for verb in ["inspect", "deploy"] {
            let refused = cli(
                target.database.url(),
                &[verb.as_ref(), "--".as_ref(), file.as_os_str()],
                "",
            );
            assert!(matches!(refused.code, Some(1..=3)), "{refused:?}");
            assert_printable(&refused.stderr);
        }
    }
}
