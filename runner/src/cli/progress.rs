//! Progress on stderr, and only when a person watches.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::context::Context;

/// A bar over `total` things. Hidden in a pipe and under `-q`.
pub(crate) fn bar(context: &Context, total: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "  {msg} {human_pos}/{human_len} {wide_bar:.cyan/dim} {per_sec} {elapsed}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(total), target(context)).with_style(style);
    bar.set_message(what);
    bar
}

/// A spinner while something of unknown length happens.
pub(crate) fn spinner(context: &Context, what: impl Into<String>) -> ProgressBar {
    let style = ProgressStyle::with_template("  {spinner} {msg} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let spinner = ProgressBar::with_draw_target(None, target(context)).with_style(style);
    spinner.set_message(what.into());
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

fn target(context: &Context) -> ProgressDrawTarget {
    match context.watched {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    }
}
