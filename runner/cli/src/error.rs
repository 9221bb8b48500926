//! Errors as people see them: `error:` with what happened, `help:` with what
//! to type next, and an exit code that scripts can rely on.

use std::fmt;

use crate::config::ConfigError;

use super::text;

/// Exit codes. Documented in README; never renumbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The operation failed.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// No such task, handler, plugin or queue.
    NotFound = 3,
    /// Database unreachable, or it does not let us in, or it is in trouble that passes.
    Unreachable = 4,
    /// Schema missing, older or newer than this program.
    Schema = 5,
    /// A task failed (`push --wait`, `call`, `run --drain`).
    TaskFailed = 6,
    /// Refused: a confirmation is needed, or read-only.
    Refused = 7,
    /// `--timeout` or `--wait` elapsed, as GNU timeout says it.
    Elapsed = 124,
    /// Interrupted before the end.
    Interrupted = 130,
}

/// What a verb ends with when it does not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The process's status.
    pub(crate) exit: Exit,
    /// One or more lines, first one lowercase without a period.
    pub(crate) message: String,
    /// What to do next, one line each.
    pub(crate) help: Vec<String>,
    /// Nothing is printed: the reader of our output went away.
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

    /// Wrong usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Problem::new(Exit::Usage, message)
    }

    /// The thing named does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Problem::new(Exit::NotFound, message)
    }

    /// Refused until it is confirmed.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Problem::new(Exit::Refused, message)
    }

    /// The reader of stdout went away: stop without a word.
    pub(crate) fn pipe_closed() -> Self {
        Problem {
            silent: true,
            ..Problem::new(Exit::Failed, "")
        }
    }

    /// Adds a line of advice.
    #[must_use]
    pub fn help(mut self, line: impl Into<String>) -> Self {
        self.help.push(line.into());
        self
    }

    /// Adds a line of advice if there is one.
    #[must_use]
    pub(crate) fn maybe_help(self, line: Option<String>) -> Self {
        match line {
            Some(line) => self.help(line),
            None => self,
        }
    }

    /// The text with ANSI colours, to be stripped where they are not wanted.
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

/// With the lines after the first below it, and nothing that a terminal obeys: an
/// error quotes file names, and what others said.
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
            ConfigError::UnknownKey { .. } => Some("all settings: `pgtq config show`".to_owned()),
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

/// There is no such task.
pub(crate) fn no_task(id: pgtq_task::TaskId) -> Problem {
    Problem::not_found(format!("there is no task {id}"))
        .help("it may have been deleted, or its history pruned; `pgtq tasks` lists what there is")
}
