//! Questions: only to a person, and never twice.

use std::io::{BufRead, IsTerminal, Write};

use super::context::Context;
use super::error::{Exit, Problem};
use super::stderr;

/// Goes on if `--yes` was given or a person says yes to `question`; else the
/// refusal with status 7.
pub(crate) fn confirm(context: &Context, question: &str) -> Result<(), Problem> {
    if context.global.yes {
        return Ok(());
    }
    let somebody = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if context.global.no_input || !somebody {
        return Err(Problem::refused(format!("not confirmed: {question}"))
            .help("add --yes to do it, or --dry-run to only look"));
    }
    stderr::in_order();
    let mut err = anstream::stderr();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Problem::new(Exit::Refused, "nothing was changed")),
    }
}
