//! Errors of the command line: `error:` says what happened, `help:` says what to do next,
//! and the exit code is stable for scripts.

use std::fmt;

use crate::config::ConfigError;

use super::text;
use pgtq_task::TaskId;

/// Exit codes, which README documents. They never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The operation failed.
    Failed = 1,
    /// Usage or configuration error.
    Usage = 2,
    /// No such task, handler, plugin or queue.
    NotFound = 3,
    /// Database unreachable, login rejected, or a transient database error.
    Unreachable = 4,
    /// Schema missing, older or newer than this program.
    Schema = 5,
    /// A task failed (`push --wait`, `call`, `run --drain`).
    TaskFailed = 6,
    /// A confirmation is required, or read-only mode is on.
    Refused = 7,
    /// `--timeout` or `--wait` elapsed; the exit code of GNU timeout.
    Elapsed = 124,
    /// Interrupted by a signal.
    Interrupted = 130,
}

/// The error of a verb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The exit status of the process.
    pub(crate) exit: Exit,
    /// One or more lines. The first one is lowercase and has no period.
    pub(crate) message: String,
    /// The next steps, one line each.
    pub(crate) help: Vec<String>,
    /// Print nothing, because the reader of the output is gone.
    pub(crate) silent: bool,
}

impl Problem {
    /// A problem with a code and a message.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Problem {
            exit,
            message: message.into(),
            help: Vec::new(),
            silent: false,
        }
    }

    /// The operation failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Problem::new(Exit::Failed, message)
    }

    /// A usage error.
    pub fn usage(message: impl Into<String>) -> Self {
        Problem::new(Exit::Usage, message)
    }

    /// A named object does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Problem::new(Exit::NotFound, message)
    }

    /// A confirmation is required, or read-only mode is on.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Problem::new(Exit::Refused, message)
    }

    /// The reader of stdout is gone: stop without a message.
    pub(crate) fn pipe_closed() -> Self {
        Problem {
            silent: true,
            ..Problem::new(Exit::Failed, "")
        }
    }

    /// Adds a help line.
    #[must_use]
    pub fn help(mut self, line: impl Into<String>) -> Self {
        self.help.push(line.into());
        self
    }

    /// Adds a help line if there is one.
    #[must_use]
    pub(crate) fn maybe_help(self, line: Option<String>) -> Self {
        match line {
            Some(line) => self.help(line),
            None => self,
        }
    }

    /// The text with ANSI colors, which the writer strips if colors are off.
    pub(crate) fn styled(&self) -> String {
        let mut text = format!("\x1b[1;31merror:\x1b[0m {}\n", indent(&self.message, 7));
        for (i, line) in self.help.iter().enumerate() {
            let head = match i {
                0 => "  \x1b[1;36mhelp:\x1b[0m ",
                _ => "        ",
            };
            text.push_str(&format!("{head}{}\n", indent(line, 8)));
        }
        text
    }
}

/// Indents all lines but the first and replaces control characters, because errors quote
/// file names and messages of other programs.
fn indent(text: &str, by: usize) -> String {
    text::safe(text.trim_end()).replace('\n', &format!("\n{}", " ".repeat(by)))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", indent(&self.message, 7))?;
        for (i, line) in self.help.iter().enumerate() {
            let head = if i == 0 { "  help: " } else { "        " };
            write!(f, "\n{head}{}", indent(line, 8))?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

impl From<ConfigError> for Problem {
    fn from(error: ConfigError) -> Self {
        let suggestion = match &error {
            ConfigError::UnknownKey {
                suggestion: Some(key),
                ..
            } => Some(format!("did you mean `{key}`?")),
            ConfigError::UnknownKey { .. } => {
                Some("`pgtq config show` lists all settings".to_owned())
            }
            _ => None,
        };
        Problem::usage(error.to_string()).maybe_help(suggestion)
    }
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Problem::pipe_closed(),
            _ => Problem::failed(error.to_string()),
        }
    }
}

impl From<pgtq_task::NameError> for Problem {
    fn from(error: pgtq_task::NameError) -> Self {
        Problem::usage(error.to_string())
    }
}

/// The error if a task does not exist.
pub(crate) fn no_task(id: TaskId) -> Problem {
    Problem::not_found(format!("there is no task {id}"))
        .help("it may have been deleted or pruned; `pgtq tasks` lists the existing tasks")
}
