//! Where the tour prints its lines.

use crate::context::Context;
use crate::error::Problem;
use crate::text;

/// Prints the tour on stdout, or on stderr if stdout is JSON.
#[derive(Clone, Copy)]
pub(crate) struct Guide<'a> {
    pub(crate) context: &'a Context,
}

impl Guide<'_> {
    /// Prints a completed step.
    pub(crate) async fn done(
        self,
        what: impl AsRef<str>,
        detail: impl AsRef<str>,
    ) -> Result<(), Problem> {
        let detail = text::safe(detail.as_ref());
        self.print(&format!(
            "\x1b[32m✓\x1b[0m {:<44} \x1b[2m{detail}\x1b[0m",
            what.as_ref()
        ))
        .await
    }

    /// Prints the start of a step.
    pub(crate) async fn begin(self, what: impl AsRef<str>) -> Result<(), Problem> {
        self.print(&format!("\x1b[36m→\x1b[0m {}", what.as_ref()))
            .await
    }

    /// Prints an indented line.
    pub(crate) async fn detail(self, text: impl AsRef<str>) -> Result<(), Problem> {
        self.print(&format!("    {}", text::safe(text.as_ref())))
            .await
    }

    async fn print(self, line: &str) -> Result<(), Problem> {
        match self.context.out.is_json() {
            true => {
                self.context.note(line);
                Ok(())
            }
            false => {
                self.context
                    .out
                    .send(format!("{}\n", line.trim_end()))
                    .await
            }
        }
    }
}
