//! Renders Markdown to HTML and lists the headings.
//!
//! HTML in the Markdown is passed through. If the text is not trusted, sanitize the
//! result before showing it.

use pgtq_sdk::prelude::*;
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

/// Render Markdown to HTML.
///
/// Supports tables, footnotes, strikethrough and task lists, as on GitHub.
#[handler(retries = 3, timeout = 10s, memory = 64MiB)]
fn markdown(
    /// The Markdown text.
    text: &str,
) -> Page {
    let events: Vec<Event<'_>> = Parser::new_ext(text, options()).collect();
    let headings = headings(&events);
    let mut page = Page {
        html: String::with_capacity(text.len() * 3 / 2),
        title: headings.first().map(|heading| heading.text.clone()),
        headings,
    };
    html::push_html(&mut page.html, events.into_iter());
    debug!(
        bytes = page.html.len(),
        headings = page.headings.len(),
        "rendered {} bytes",
        text.len()
    );
    page
}

/// The result of `markdown`.
#[data]
#[derive(Debug)]
pub struct Page {
    /// The text as HTML, without a surrounding document.
    pub html: String,
    /// The first heading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// All headings, in order.
    pub headings: Vec<Heading>,
}

/// A heading, as plain text.
#[data]
#[derive(Debug, PartialEq)]
pub struct Heading {
    /// The level, from 1 (highest) to 6.
    pub level: u8,
    /// The plain text.
    pub text: String,
}

fn options() -> Options {
    Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
}

fn headings(events: &[Event<'_>]) -> Vec<Heading> {
    let mut found = Vec::new();
    let mut open: Option<Heading> = None;
    for event in events {
        match (event, &mut open) {
            (Event::Start(Tag::Heading { level, .. }), _) => {
                open = Some(Heading {
                    level: number(*level),
                    text: String::new(),
                });
            }
            (Event::End(TagEnd::Heading(_)), _) => found.extend(open.take()),
            (Event::Text(text) | Event::Code(text), Some(heading)) => heading.text.push_str(text),
            (Event::SoftBreak, Some(heading)) => heading.text.push(' '),
            _ => {}
        }
    }
    found
}

fn number(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_rendered_and_headings_are_listed() {
        let page = markdown("# The `map`\n\nOne *word*.\n\n## Rooms\n");
        assert_eq!(page.title.as_deref(), Some("The map"));
        assert!(
            page.html.contains("<p>One <em>word</em>.</p>"),
            "{}",
            page.html
        );
        let levels: Vec<u8> = page.headings.iter().map(|heading| heading.level).collect();
        assert_eq!(levels, [1, 2]);
    }

    #[test]
    fn tables_are_rendered() {
        let page = markdown("| a | b |\n|---|---|\n| 1 | 2 |\n");
        assert!(page.html.contains("<table>"), "{}", page.html);
    }

    #[test]
    fn text_without_headings_has_no_title() {
        let page = Ctx::test().run("markdown", json!({"text": "plain"}));
        let page = page.expect("plain text is Markdown");
        assert_eq!(page, json!({"html": "<p>plain</p>\n", "headings": []}));
    }

    #[test]
    fn a_missing_argument_is_named_in_the_error() {
        let error = Ctx::test()
            .run("markdown", json!({}))
            .expect_err("there is no text");
        assert_eq!(
            error.message(),
            "argument `text` is missing, expected `String`"
        );
    }
}
