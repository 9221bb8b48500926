//! New plugin crates for `pgtq new`.
//!
//! The program contains the files, so that creating a crate needs no network.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The longest crate name that registries accept.
const LONGEST_NAME: usize = 64;

/// Names that cargo rejects, or that would shadow a standard crate.
const RESERVED: &[&str] = &[
    "alloc",
    "core",
    "deps",
    "build",
    "examples",
    "incremental",
    "pgtq",
    "pgtq-contract",
    "pgtq-sdk",
    "pgtq-sdk-macros",
    "pgtq_contract",
    "pgtq_sdk",
    "pgtq_sdk_macros",
    "proc_macro",
    "std",
    "test",
];

/// Rust's keywords, which cannot name a crate.
const KEYWORDS: &str = " abstract as async await become box break const continue crate do dyn \
    else enum extern false final fn for gen if impl in let loop macro match mod move mut \
    override priv pub ref return self static struct super trait true try type typeof unsafe \
    unsized use virtual where while yield ";

const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("files/Cargo.toml.in")),
    ("src/lib.rs", include_str!("files/lib.rs.in")),
    ("README.md", include_str!("files/README.md.in")),
    (".gitignore", include_str!("files/gitignore.in")),
];

/// Options for a new crate.
#[derive(Debug, Clone, Default)]
pub struct TemplateOptions {
    /// The directory of the SDK to depend on. The default is the SDK in the source tree
    /// that this program was built from, if it exists, otherwise the published crate.
    pub sdk_path: Option<PathBuf>,
}

/// A crate that could not be created.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The name is not a valid crate name.
    #[error(
        "{0:?} is not a valid crate name: use a letter, then letters, digits, `-` and `_`, at most \
         {LONGEST_NAME} characters, and no Rust keyword or reserved name"
    )]
    BadName(String),
    /// The directory exists; nothing was changed.
    #[error("{} already exists; choose another name or directory", .0.display())]
    Exists(PathBuf),
    /// The given directory is not an SDK.
    #[error("{} is not an SDK: it has no Cargo.toml with the package `pgtq-sdk`", .0.display())]
    NoSdk(PathBuf),
    /// A file or directory could not be written.
    #[error("cannot write {}: {source}", path.display())]
    System {
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// Creates the crate `name` in `dir/name` and returns the files that it wrote. Never
/// changes existing files.
pub fn create(
    name: &str,
    dir: &Path,
    options: &TemplateOptions,
) -> Result<Vec<PathBuf>, TemplateError> {
    if !is_crate_name(name) {
        return Err(TemplateError::BadName(name.to_owned()));
    }
    let sdk = match &options.sdk_path {
        Some(path) => Some(checked_sdk(path)?),
        None => sdk_in_source_tree(),
    };
    let root = dir.join(name);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| TemplateError::System { path, source }
    };
    fs::create_dir_all(dir).map_err(failed(dir))?;
    fs::create_dir(&root).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => TemplateError::Exists(root.clone()),
        _ => failed(&root)(source),
    })?;
    let mut written = Vec::new();
    for (file, template) in FILES {
        let path = root.join(file);
        let parent = path.parent().expect("it is below the root");
        let text = filled(template, name, sdk.as_deref());
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, text))
            .map_err(failed(&path))?;
        written.push(path);
    }
    Ok(written)
}

/// The SDK in the source tree that this program was built from, if it exists.
pub fn sdk_in_source_tree() -> Option<PathBuf> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    checked_sdk(&tree.join("sdk")).ok()
}

fn checked_sdk(path: &Path) -> Result<PathBuf, TemplateError> {
    let manifest = fs::read_to_string(path.join("Cargo.toml")).unwrap_or_default();
    match path.canonicalize() {
        Ok(absolute) if manifest.contains("name = \"pgtq-sdk\"") => Ok(absolute),
        _ => Err(TemplateError::NoSdk(path.to_owned())),
    }
}

fn filled(template: &str, name: &str, sdk: Option<&Path>) -> String {
    let sdk = match sdk {
        Some(path) => {
            let path = toml::Value::from(path.to_string_lossy().into_owned());
            format!("{{ path = {path} }}")
        }
        None => format!("\"{}\"", env!("CARGO_PKG_VERSION")),
    };
    template
        .replace("@SDK@", &sdk)
        .replace("@FILE@", &name.replace('-', "_"))
        .replace("@NAME@", name)
}

fn is_crate_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= LONGEST_NAME
        && name.chars().all(legal)
        && !RESERVED.contains(&name)
        && !KEYWORDS.contains(&format!(" {name} "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::{BuildOptions, CompilerOutput, Toolchain, build_plugin};

    #[test]
    fn invalid_crate_names_are_rejected() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "",
            "1st",
            "-x",
            "../up",
            "a b",
            "fn",
            "std",
            "é",
            &"x".repeat(65),
        ] {
            let made = create(name, dir.path(), &TemplateOptions::default());
            assert!(matches!(made, Err(TemplateError::BadName(_))), "{name:?}");
        }
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn an_existing_directory_is_not_changed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("mine")).unwrap();
        let made = create("mine", dir.path(), &TemplateOptions::default());
        assert!(matches!(made, Err(TemplateError::Exists(_))));
        assert_eq!(dir.path().join("mine").read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_wrong_sdk_directory_is_rejected_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let options = TemplateOptions {
            sdk_path: Some(dir.path().to_owned()),
        };
        let made = create("mine", dir.path(), &options);
        assert!(matches!(made, Err(TemplateError::NoSdk(_))));
        assert!(!dir.path().join("mine").exists());
    }

    #[test]
    fn a_new_crate_builds_a_plugin() {
        let dir = tempfile::tempdir().unwrap();
        let written = create("my-plugin", dir.path(), &TemplateOptions::default()).unwrap();
        assert_eq!(written.len(), FILES.len());
        let root = dir.path().join("my-plugin");
        let toolchain = Toolchain::ensure(&root, &|line| eprintln!("{line}")).unwrap();
        let options = BuildOptions {
            output: CompilerOutput::Keep,
            // A fixed directory, so that dependencies are not rebuilt in every test run.
            target_dir: Some(
                Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp/new-crate"),
            ),
            ..BuildOptions::default()
        };
        let built = build_plugin(&toolchain, &root, &options).unwrap();
        assert!(
            built
                .wasm_of("my-plugin")
                .unwrap()
                .ends_with("my_plugin.wasm")
        );
    }
}
