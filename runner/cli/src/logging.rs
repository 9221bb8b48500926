//! Logs to standard error: text, or JSON lines with `PGTQ_LOG_FORMAT=json`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::global_args::{Color, GlobalArgs};
use super::stderr;

/// Installs the logger of the process. `PGTQ_LOG`, then `RUST_LOG`, override `-q` and `-v`,
/// which raise or lower the default level `usual`.
pub(crate) fn start(global: &GlobalArgs, usual: u8) {
    let level = i16::from(usual) + i16::from(global.verbose) - i16::from(global.quiet);
    let level = match level {
        ..=0 => "error",
        1 => "warn",
        2 => "info",
        3 => "debug",
        _ => "trace",
    };
    // Other crates log warnings and errors only, except at `-vvv`.
    let default = match level {
        "trace" => "trace".to_owned(),
        "error" => "error".to_owned(),
        level => format!("warn,pgtq={level}"),
    };
    let directives = ["PGTQ_LOG", "RUST_LOG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()));
    let filter = EnvFilter::try_new(directives.as_deref().unwrap_or(&default))
        .unwrap_or_else(|_| EnvFilter::new(&default));
    let colour = match global.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    let builder = tracing_subscriber::fmt()
        .with_writer(stderr::Log)
        // Internal errors would bypass the queue and panic if stderr is closed.
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_ansi(colour);
    // Fails if a logger is already installed, as in tests.
    let _ = match stderr::logs_json() {
        true => builder.json().try_init(),
        false => builder.with_target(false).try_init(),
    };
}
