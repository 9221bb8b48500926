//! `pgtq completions`.

use clap::{Args, CommandFactory};

use crate::context::Context;
use crate::error::Problem;
use crate::root::Root;

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

pub(crate) fn run(args: &CompletionsArgs, context: &Context) -> Result<(), Problem> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Root::command(), "pgtq", &mut script);
    context.out.raw(&String::from_utf8_lossy(&script))
}
