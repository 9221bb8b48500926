//! `pgtq build`: compiles plugin crates to `.wasm` files.

use std::path::PathBuf;

use clap::Args;

use crate::context::Context;
use crate::error::Problem;
use crate::output::{Cell, Rows};
use crate::{machine, text};
use pgtq_setup::toolchain::{BuildOptions, Toolchain, build_plugin};

/// Arguments of `pgtq build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Directory of a crate or of a workspace
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Build only this package of the workspace
    #[arg(short, long, value_name = "NAME")]
    pub(crate) package: Option<String>,
    /// Copy the .wasm files to this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Build with debug assertions and without optimization
    #[arg(long)]
    pub(crate) debug: bool,
    /// Enable this Cargo feature; can be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) features: Vec<String>,
}

pub(crate) fn run(args: BuildArgs, context: &Context) -> Result<(), Problem> {
    let dir = args.dir.canonicalize().map_err(|error| {
        Problem::not_found(format!("cannot find `{}`: {error}", args.dir.display()))
    })?;
    if !dir.join("Cargo.toml").is_file() {
        return Err(
            Problem::not_found(format!("there is no Cargo.toml in `{}`", dir.display()))
                .help("pass the directory of a crate, or create one with `pgtq new NAME`"),
        );
    }
    let options = BuildOptions {
        debug: args.debug,
        package: args.package,
        features: args.features,
        out_dir: args.out,
        ..BuildOptions::default()
    };
    let built = tokio::task::block_in_place(|| {
        let toolchain = Toolchain::ensure(&dir, &|line| context.say(line))?;
        Ok::<_, Problem>(build_plugin(&toolchain, &dir, &options)?)
    })?;
    let mut rows = Rows::new("pgtq.built/v1", &["file", "size", "digest", "handlers"]);
    for artifact in &built.artifacts {
        let bytes = machine::read(&artifact.wasm)?;
        let digest = pgtq_task::Digest::of(&bytes);
        let handlers: Vec<String> = pgtq_sandbox::inspect(&bytes)
            .map_err(|reason| {
                Problem::failed(format!(
                    "{} was built, but runners would reject it: {reason}",
                    artifact.wasm.display()
                ))
            })?
            .handlers
            .iter()
            .map(|handler| handler.name.to_string())
            .collect();
        let file = artifact.wasm.display().to_string();
        if !artifact.paths.is_empty() {
            context.warn(format!(
                "{file} contains paths of this machine, so builds on other machines have different digests: {}",
                artifact.paths.join(" ")
            ));
        }
        let cells = vec![
            file.as_str().into(),
            Cell::new(text::bytes(bytes.len() as u64), bytes.len().to_string()),
            Cell::new(digest.short(), digest.to_string()),
            handlers.join(" ").into(),
        ];
        let json = serde_json::json!({
            "package": artifact.package, "file": file, "bytes": bytes.len(),
            "digest": digest.to_string(), "handlers": handlers,
        });
        rows.push(&file, cells, json);
    }
    context.out.rows(&rows)?;
    context.note(format!("built in {}", text::fine(built.took)));
    Ok(())
}
