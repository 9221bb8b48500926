//! What every verb is handed: global flags, configuration, where to print.

use std::io::IsTerminal;
use std::path::PathBuf;

use crate::config::{Config, Flag};

use super::error::Problem;
use super::global::GlobalArgs;
use super::output::{Format, Output};
use super::stderr;

/// Lives as long as the verb.
pub struct Context {
    /// Global flags.
    pub(crate) global: GlobalArgs,
    /// Where data goes.
    pub(crate) out: Output,
    /// Where the program was started.
    pub(crate) here: PathBuf,
    /// Whether a person watches stderr.
    pub(crate) watched: bool,
}

impl Context {
    pub(crate) fn new(global: GlobalArgs) -> Result<Self, Problem> {
        let format = match (global.json, global.output) {
            (true, _) => Format::Json,
            (false, Some(format)) => format,
            (false, None) => Format::Table,
        };
        let here = std::env::current_dir().map_err(|error| {
            Problem::failed(format!("cannot tell the current directory: {error}"))
        })?;
        Ok(Context {
            out: Output::new(format),
            here,
            watched: std::io::stderr().is_terminal() && global.quiet == 0,
            global,
        })
    }

    /// The configuration with the verb's own flags laid over it.
    pub(crate) fn config(&self, own: Vec<Flag>) -> Result<Config, Problem> {
        let mut flags = self.global.flags();
        flags.extend(own);
        Ok(Config::load(
            &flags,
            self.global.config.as_deref(),
            &self.here,
        )?)
    }

    /// Refuses under `--read-only`.
    pub(crate) fn writing(&self, config: &Config) -> Result<(), Problem> {
        match config.read_only {
            true => Err(
                Problem::refused("read-only: this command would change tasks")
                    .help("leave out --read-only (or PGTQ_READ_ONLY, `read_only` in [cli])"),
            ),
            false => Ok(()),
        }
    }

    /// A line for people on stderr; nothing under `-q`.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        if self.global.quiet == 0 {
            stderr::styled(&format!("{}\n", text.as_ref()));
        }
    }

    /// A warning on stderr.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        if self.global.quiet < 2 {
            stderr::styled(&format!("\x1b[1;33mwarning:\x1b[0m {}\n", text.as_ref()));
        }
    }

    /// Tells the steps of long set-up work to a person.
    pub(crate) fn say(&self, text: &str) {
        self.note(format!("\x1b[2m→ {text}\x1b[0m"));
    }
}

/// A flag's value as a setting, if it was given.
pub(crate) fn setting<T: ToString>(
    key: &'static str,
    flag: &'static str,
    value: Option<T>,
) -> Option<Flag> {
    value.map(|value| Flag {
        key,
        flag,
        text: value.to_string(),
    })
}
