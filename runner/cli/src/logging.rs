//! Logs go to standard error: text, or JSON lines under `PGTQ_LOG_FORMAT=json`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::global::{Color, GlobalArgs};
use super::root::Verb;
use super::stderr;

/// Installs the process's log. `PGTQ_LOG`, then `RUST_LOG`, win over `-q` and `-v`, and
/// these over what is usual.
pub(crate) fn start(global: &GlobalArgs, usual: u8) {
    let level = i16::from(usual) + i16::from(global.verbose) - i16::from(global.quiet);
    let level = match level {
        ..=0 => "error",
        1 => "warn",
        2 => "info",
        3 => "debug",
        _ => "trace",
    };
    // Other crates are worth hearing only when something is wrong, or at `-vvv`.
    let default = match level {
        "trace" => "trace".to_owned(),
        "error" => "error".to_owned(),
        level => format!("warn,pgtq={level}"),
    };
    let asked = ["PGTQ_LOG", "RUST_LOG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()));
    let filter = EnvFilter::try_new(asked.as_deref().unwrap_or(&default))
        .unwrap_or_else(|_| EnvFilter::new(&default));
    let colour = match global.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    let builder = tracing_subscriber::fmt()
        .with_writer(stderr::Log)
        // These would go past the queue, and panic when nobody reads.
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_ansi(colour);
    // A log that is already there (tests) stays.
    let _ = match stderr::logs_json() {
        true => builder.json().try_init(),
        false => builder.with_target(false).try_init(),
    };
}

/// How much a verb logs: 2 is info, 1 is warnings, 0 is errors.
pub(crate) fn usual(verb: &Verb) -> u8 {
    match verb {
        Verb::Run(_) | Verb::Dev(_) => 2,
        // The tour refuses a broken file on purpose, and says so itself.
        Verb::Demo(_) => 0,
        // So do cases.
        Verb::Test(_) => 0,
        _ => 1,
    }
}
