//! Task ids, filters and filter options.

use std::time::Duration;

use crate::filter::{FilterArgs, select};
use pgtq_task::{State, TaskId};

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn filters_and_options_are_equivalent() {
    let by_words = select(
        &words("state:failed,cancelled queue:media handler:thumb* since:2h error:timeout"),
        &FilterArgs::default(),
    )
    .unwrap();
    let flags = FilterArgs {
        state: vec![State::Failed, State::Cancelled],
        queue: Some("media".parse().unwrap()),
        handler: Some("thumb*".to_owned()),
        since: Some(Duration::from_secs(7_200)),
        error: Some("timeout".to_owned()),
    };
    assert_eq!(by_words, select(&[], &flags).unwrap());
    assert!(by_words.narrowed);
}

#[test]
fn ids_are_numbers() {
    let selection = select(&words("12 id:13 14"), &FilterArgs::default()).unwrap();
    assert_eq!(selection.ids, [TaskId(12), TaskId(13), TaskId(14)]);
    assert!(!selection.narrowed);
}

#[test]
fn mistakes_in_filters_are_explained() {
    let texts: Vec<String> = [
        "stat:failed",
        "failed",
        "state:faild",
        "since:2",
        "queue:my/queue",
        "handler:thumb;drop",
        "12 state:failed",
        "99999999999999999999",
        "colour:red",
    ]
    .iter()
    .map(|text| match select(&words(text), &FilterArgs::default()) {
        Ok(selection) => format!("accepted: {selection:?}"),
        Err(problem) => problem.to_string(),
    })
    .collect();
    insta::assert_snapshot!(texts.join("\n\n"));
}
