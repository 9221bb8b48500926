//! The context of a verb: global options, configuration and output.

use std::io::IsTerminal;
use std::path::PathBuf;

use crate::config::{Config, Flag};

use super::error::Problem;
use super::global_args::GlobalArgs;
use super::output::{Format, Output};
use super::stderr;

/// Lives as long as the verb.
pub struct Context {
    /// Global options.
    pub(crate) global: GlobalArgs,
    /// The output for data.
    pub(crate) out: Output,
    /// The directory in which the program was started.
    pub(crate) here: PathBuf,
    /// Whether stderr is a terminal and `-q` is not set.
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
            Problem::failed(format!("cannot determine the current directory: {error}"))
        })?;
        Ok(Context {
            out: Output::new(format),
            here,
            watched: std::io::stderr().is_terminal() && global.quiet == 0,
            global,
        })
    }

    /// The configuration, overridden by the verb's options.
    pub(crate) fn config(&self, own: Vec<Flag>) -> Result<Config, Problem> {
        let mut flags = self.global.flags();
        flags.extend(own);
        Ok(Config::load(
            &flags,
            self.global.config.as_deref(),
            &self.here,
        )?)
    }

    /// Fails in read-only mode.
    pub(crate) fn writing(&self, config: &Config) -> Result<(), Problem> {
        match config.read_only {
            true => Err(
                Problem::refused("this command changes tasks, and read-only mode is on")
                    .help("remove --read-only, PGTQ_READ_ONLY or `read_only` in [cli]"),
            ),
            false => Ok(()),
        }
    }

    /// Prints a message on stderr, unless `-q` is set.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        if self.global.quiet == 0 {
            stderr::styled(&format!("{}\n", text.as_ref()));
        }
    }

    /// Prints a warning on stderr, unless `-qq` is set.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        if self.global.quiet < 2 {
            stderr::styled(&format!("\x1b[1;33mwarning:\x1b[0m {}\n", text.as_ref()));
        }
    }

    /// Prints a step of the setup on stderr.
    pub(crate) fn say(&self, text: &str) {
        self.note(format!("\x1b[2m→ {text}\x1b[0m"));
    }
}

/// The value of an option as a setting, if the option is given.
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
