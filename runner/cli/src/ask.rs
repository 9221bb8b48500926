//! Confirmation prompts on a terminal.

use std::io::{BufRead, IsTerminal, Write};

use super::context::Context;
use super::error::{Exit, Problem};
use super::stderr;

/// Returns if `--yes` is given or the user answers yes to `question`; otherwise an error
/// with exit status 7.
pub(crate) fn confirm(context: &Context, question: &str) -> Result<(), Problem> {
    if context.global.yes {
        return Ok(());
    }
    let is_interactive = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if context.global.no_input || !is_interactive {
        return Err(
            Problem::refused(format!("confirmation required: {question}"))
                .help("pass --yes to confirm"),
        );
    }
    stderr::in_order();
    let mut err = anstream::stderr();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Problem::new(
            Exit::Refused,
            "not confirmed; nothing was changed",
        )),
    }
}
