//! The output formats, and text made safe for a terminal.

use jiff::Timestamp;
use serde_json::json;

use crate::output::{Cell, Format, Output, Rows};
use crate::text;
use crate::verbs::tasks;
use pgtq_store::TaskRow;
use pgtq_task::{Progress, State, TaskId};

fn all_forms(render: impl Fn(Output) -> String) -> String {
    [
        ("terminal", Format::Table, true),
        ("pipe", Format::Table, false),
        ("json", Format::Json, false),
        ("jsonl", Format::Jsonl, false),
        ("ids", Format::Ids, false),
    ]
    .map(|(name, format, terminal)| format!("--- {name}\n{}", render(Output { format, terminal })))
    .join("")
    .replace('\x1b', "^")
}

#[test]
fn rows_have_five_forms() {
    let mut rows = Rows::new("pgtq.things/v1", &["id", "time", "details"]);
    let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
    let at: Timestamp = "2026-11-23T11:58:00Z".parse().unwrap();
    rows.push(
        1,
        vec!["1".into(), Cell::time(Some(at), now), "a\tb\nc".into()],
        json!({"id": 1}),
    );
    rows.push(
        22,
        vec![
            "22".into(),
            Cell::time(None, now),
            "\u{1b}[31mred\u{7}".into(),
        ],
        json!({"id": 22}),
    );
    insta::assert_snapshot!(all_forms(|out| out.render_rows(&rows)));
}

#[test]
fn one_thing_has_five_forms() {
    let pairs = [
        ("name", Cell::from("x")),
        ("empty", Cell::from("")),
        ("lines", Cell::from("a\nb\u{1b}[2J")),
    ];
    insta::assert_snapshot!(all_forms(|out| {
        out.render_one("pgtq.thing/v1", "7", &pairs, &json!({"id": 7}))
    }));
}

/// C0, C1, DEL and bidirectional controls.
const CONTROLS: [char; 19] = [
    '\u{1}', '\u{7}', '\u{1b}', '\u{7f}', '\u{80}', '\u{9b}', '\u{9f}', '\u{61c}', '\u{200e}',
    '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}', '\u{2067}',
    '\u{2068}', '\u{2069}',
];

#[test]
fn json_on_a_terminal_is_the_same_value_without_control_characters() {
    let text: String = CONTROLS.iter().collect();
    let value = json!({"id": 7, &text: [&text, "é 😀 \u{2028}"]});
    let mut rows = Rows::new("pgtq.things/v1", &["what"]);
    rows.push(7, vec![Cell::from(&text)], &value);
    let pairs = [("what", Cell::from(&text))];
    for format in [Format::Json, Format::Jsonl] {
        for terminal in [true, false] {
            let out = Output { format, terminal };
            let one = out.render_one("pgtq.thing/v1", "7", &pairs, &value);
            let shown: serde_json::Value = serde_json::from_str(&one).unwrap();
            assert_eq!(shown[&text], value[&text]);
            let list = out.render_rows(&rows);
            for text in [one, list] {
                assert_eq!(text.contains('\u{9b}'), !terminal, "{text:?}");
                let n_controls = text.matches(|c| CONTROLS.contains(&c)).count();
                assert_eq!(n_controls == 0, terminal, "{text:?}");
            }
        }
    }
    // A line break between values is not part of a string.
    assert_eq!(text::json_on_terminal("[1,\r\n2]"), "[1, \n2]");
}

#[test]
fn only_styles_of_this_program_are_printed() {
    let hostile: String = CONTROLS.iter().collect();
    let shown = text::styled(&format!(
        "\x1b[1;31merror:\x1b[0m {hostile}\x1b[8m\x1b[2J\tx\n\x1b"
    ));
    let rest = shown.replace("\x1b[1;31m", "").replace("\x1b[0m", "");
    assert!(!rest.contains(|c| CONTROLS.contains(&c)), "{rest:?}");
    assert!(shown.starts_with("\x1b[1;31merror:\x1b[0m "));
    assert!(shown.ends_with("\u{fffd}[8m\u{fffd}[2J\tx\n\u{fffd}"));
}

#[test]
fn an_empty_list_prints_nothing_but_json() {
    let rows = Rows::new("pgtq.things/v1", &["id"]);
    insta::assert_snapshot!(all_forms(|out| out.render_rows(&rows)));
}

#[test]
fn tasks_show_the_time_and_text_that_matter_for_their_state() {
    let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
    let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    let task = |id, state| TaskRow {
        id: TaskId(id),
        state,
        queue: "default".to_owned(),
        handler: "greet".to_owned(),
        priority: 0,
        args: "{}".to_owned(),
        result: (state == State::Complete).then(|| "{\"text\":\"hi\"}".to_owned()),
        error_kind: None,
        error_message: (state == State::Failed).then(|| "no such \u{1b}[31mfile".to_owned()),
        attempts: 1,
        crashes: 0,
        retries: None,
        pushed_at: "2026-11-23T10:00:00Z".parse().unwrap(),
        due_at: "2026-11-23T12:05:00Z".parse().unwrap(),
        started_at: at("2026-11-23T11:59:30Z"),
        finished_at: at("2026-11-23T11:59:40Z"),
        runner: None,
        claim: None,
        key: None,
        parent: None,
        progress: (state == State::Running).then(|| Progress {
            fraction: 0.425,
            message: "page 17 of 40".to_owned(),
        }),
    };
    let rows = tasks::rows(&State::ALL.map(|state| task(state as i64 + 1, state)), now);
    let out = |terminal| Output {
        format: Format::Table,
        terminal,
    };
    let both = format!(
        "{}---\n{}",
        out(true).render_rows(&rows),
        out(false).render_rows(&rows)
    );
    insta::assert_snapshot!(both);
}

#[test]
fn untrusted_text_cannot_control_a_terminal() {
    assert_eq!(
        text::safe("a\u{1b}[31mb\r\u{9b}c\u{202e}d\n"),
        "a\u{fffd}[31mb\u{fffd}\u{fffd}c\u{fffd}d\n"
    );
    assert_eq!(text::line("one\ntwo", 80), "one two");
    assert_eq!(text::line("abcdef", 4), "abc…");
}

#[test]
fn numbers_are_readable() {
    let ms = std::time::Duration::from_micros;
    assert_eq!(text::count(1_234_567), "1 234 567");
    assert_eq!(text::tasks(1), "1 task");
    assert_eq!(text::fine(ms(45)), "45 µs");
    assert_eq!(text::fine(ms(1_234)), "1.2 ms");
    assert_eq!(text::fine(ms(3_400_000)), "3.4 s");
    assert_eq!(text::bytes(1 << 20), "1.0 MiB");
}
