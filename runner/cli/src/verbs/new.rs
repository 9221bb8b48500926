//! `pgtq new`: creates a plugin crate from the template.

use std::path::PathBuf;

use clap::Args;

use crate::context::Context;
use crate::error::Problem;
use pgtq_setup::template::{self, TemplateOptions};

/// Arguments of `pgtq new`.
#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Name of the crate
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Directory in which to create the crate [default: the current directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Depend on the pgtq-sdk crate in this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) sdk_path: Option<PathBuf>,
}

pub(crate) fn run(args: NewArgs, context: &Context) -> Result<(), Problem> {
    let dir = args.dir.unwrap_or_else(|| context.here.clone());
    let options = TemplateOptions {
        sdk_path: args.sdk_path,
    };
    let files = template::create(&args.name, &dir, &options)?;
    for file in &files {
        context.out.raw(&format!("{}\n", file.display()))?;
    }
    context.note("next steps:");
    context.note(format!(
        "  cd {} && cargo test",
        dir.join(&args.name).display()
    ));
    context.note("  pgtq dev");
    Ok(())
}
