//! Golden texts of errors, each with the next step.

use clap::Parser;

use crate::error::Problem;
use crate::known::Handlers;
use crate::root::Root;
use crate::{database, refused};
use pgtq_store::{HandlerRow, StoreError};
use pgtq_task::Name;

use super::arguments::handler;

#[test]
fn every_database_error_names_the_next_step() {
    let place = || "db.example:5432/app".to_owned();
    let schema = || "pgtq".to_owned();
    let problems: Vec<String> = [
        StoreError::Unreachable {
            place: place(),
            message: "connection refused".into(),
            hint: None,
        },
        StoreError::Auth {
            place: place(),
            message: "password authentication failed".into(),
        },
        StoreError::SchemaMissing { schema: schema() },
        StoreError::SchemaOlder {
            schema: schema(),
            found: 1,
            wanted: 3,
        },
        StoreError::SchemaNewer {
            schema: schema(),
            found: 9,
            serves: 8,
            wanted: 3,
        },
        StoreError::Locked {
            verb: "migrate the schema",
            message: "canceling statement due to lock timeout".into(),
        },
        StoreError::Transient {
            verb: "push",
            message: "server is shutting down".into(),
            hint: None,
        },
        StoreError::Refused {
            message: "queue name is too long".into(),
            hint: Some("use at most 128".into()),
        },
        StoreError::Denied {
            verb: "push",
            message: "permission denied for function push".into(),
            hint: "an admin gives rights",
        },
        StoreError::Fault {
            verb: "push",
            message: "XX000 internal error".into(),
        },
    ]
    .into_iter()
    .map(Problem::from)
    .chain([database::unconfigured()])
    .map(|problem| format!("[{}] {problem}", problem.exit as u8))
    .collect();
    insta::assert_snapshot!(problems.join("\n\n"));
}

#[test]
fn an_unknown_handler_gets_a_suggestion() {
    let row = HandlerRow {
        info: handler(),
        digest: String::new(),
        file: "images.wasm".to_owned(),
        plugin: "images 1.0.0".to_owned(),
        runners: Vec::new(),
        paused_at: None,
    };
    let find = |handlers: &Handlers, name: &str| {
        let name = Name::new(name).unwrap();
        handlers
            .find(&name)
            .map(|found| found.is_some())
            .map_err(|problem| problem.to_string())
    };
    let known = Handlers::of(vec![row], false);
    assert_eq!(find(&known, "resize"), Ok(true));
    let texts = [
        find(&known, "resise").unwrap_err(),
        find(&known, "unlike").unwrap_err(),
        find(&Handlers::of(Vec::new(), false), "resize").unwrap_err(),
    ];
    insta::assert_snapshot!(texts.join("\n\n"));
    assert_eq!(find(&Handlers::of(Vec::new(), true), "resize"), Ok(false));
}

/// Whether the text contains control characters.
fn has_control_characters(text: &str) -> bool {
    text.chars()
        .any(|c| c != '\n' && c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c))
}

#[test]
fn a_rejected_argument_is_shown_without_control_characters() {
    let hostile = "a\u{1b}[31m\u{7}\r\n\u{202e}z";
    let lines: [&[&str]; 8] = [
        &[hostile],
        &["push", "h", &format!("--{hostile}")],
        &["push", "h", &format!("--wait={hostile}")],
        &["push", "--priority", hostile, "h"],
        &["push", "--queue", hostile, "h"],
        &["pause", "--", hostile],
        &["--output", hostile, "queues"],
        &["version", hostile],
    ];
    for words in lines {
        let line = ["pgtq"].iter().chain(words);
        let error = refused::printable(Root::try_parse_from(line).unwrap_err());
        // With colors, as on a terminal.
        let colored = error.render().ansi().to_string();
        let plain = error.render().to_string();
        assert!(
            !colored.contains("\u{1b}[31m\u{7}"),
            "{words:?}: {colored:?}"
        );
        assert!(!has_control_characters(&plain), "{words:?}: {plain:?}");
        let shown = hostile.escape_debug().to_string();
        assert!(plain.contains(&shown), "{words:?}: {plain}");
    }
    let honest = Root::try_parse_from(["pgtq", "push", "h", "--wrong"]).unwrap_err();
    let before = honest.render().to_string();
    assert_eq!(refused::printable(honest).render().to_string(), before);
    assert!(before.contains("tip:"), "{before}");
    let problem = Problem::failed(format!("{hostile}.wasm is refused")).help(hostile);
    assert!(!has_control_characters(&problem.to_string()), "{problem}");
}
