//! Untrusted text on a terminal: control characters are escaped.

use std::process::Command;

use pgtq_tests::{cli, on_terminal, plugin, program};

use crate::tasks::database;

/// CSI, a direction override, and DEL, which JSON does not escape.
const HOSTILE: &str = "a\u{9b}31mb\u{202e}c\u{7f}d";
const ESCAPED: &str = "a\\u009b31mb\\u202ec\\u007fd";

fn terminal(url: &str, arguments: &[&str]) -> String {
    let mut command: Command = program();
    command.args(arguments).env("PGTQ_DATABASE_URL", url);
    on_terminal(command)
}

#[track_caller]
fn assert_harmless(shown: &str) {
    let ours = shown
        .replace("\x1b[0m", "")
        .replace("\x1b[1m", "")
        .replace("\x1b[2m", "");
    let obeyed = |c: char| c.is_control() && !"\r\n\t".contains(c) || c == '\u{202e}';
    assert!(!ours.contains(obeyed), "{shown:?}");
}

#[test]
fn results_and_json_are_escaped_on_a_terminal_and_unchanged_in_a_pipe() {
    let (database, sql) = database();
    let url = database.url();
    let id = sql.row(&format!(
        r#"SELECT pgtq.push('a', '{{"name": "{HOSTILE}"}}', key => 'k')"#
    ));
    let popped = sql.row("SELECT token FROM pgtq.pop()");
    let result = format!(r#"{{"text": "{HOSTILE}"}}"#);
    assert_eq!(
        sql.row(&format!(
            "SELECT pgtq.complete({id}, '{popped}', '{result}')"
        )),
        "t"
    );
    let again = ["push", "a", "--key", "k", "--allow-unknown", "--wait"];
    for (arguments, is_whole) in [
        (&again[..], true),
        (&["show", &id, "--result"], true),
        (&["show", &id, "--args"], false),
        (&["show", &id, "--json"], false),
        (&["tasks", "-o", "jsonl"], false),
        (&["tasks", "-o", "json"], false),
    ] {
        let shown = terminal(url, arguments);
        assert!(shown.contains(ESCAPED), "{arguments:?}: {shown:?}");
        assert_harmless(&shown);
        serde_json::from_str::<serde_json::Value>(&shown).expect("still JSON");
        let piped = cli(url, arguments, "").success();
        assert!(piped.contains(HOSTILE), "{arguments:?}: {piped:?}");
        if is_whole {
            assert_eq!(piped, result);
        }
    }
    for arguments in [&["show", &id][..], &["tasks"]] {
        let shown = terminal(url, arguments);
        assert!(shown.contains('\u{fffd}'), "{arguments:?}: {shown:?}");
        assert_harmless(&shown);
    }
    let hello = plugin("hello").display().to_string();
    let arguments = ["call", &hello, "greet", &format!("name={HOSTILE}")];
    let shown = terminal(url, &arguments);
    assert!(shown.contains(&format!("Hello, {ESCAPED}!")), "{shown:?}");
    assert_harmless(&shown);
    let piped = cli(url, &arguments, "").success();
    assert!(piped.contains(&format!("Hello, {HOSTILE}!")), "{piped:?}");
}
