//! `pgtq completions`.

use clap::{Args, Command};

use crate::context::Context;
use crate::error::Problem;

/// Arguments of `pgtq completions`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  pgtq completions bash > ~/.local/share/bash-completion/completions/pgtq"
)]
pub(crate) struct CompletionsArgs {
    /// Shell to write the script for
    #[arg(value_name = "SHELL", value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

pub(crate) fn run(
    args: &CompletionsArgs,
    mut program: Command,
    context: &Context,
) -> Result<(), Problem> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "pgtq", &mut script);
    context.out.raw(&String::from_utf8_lossy(&script))
}
