//! Builds the example plugins.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use pgtq_setup::toolchain::{
    BuildError, BuildOptions, Built, CompilerOutput, Toolchain, build_plugin,
};

use crate::process::target_dir;

/// The root of this repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ has a parent")
}

/// The file of an example plugin, such as `hello`. The first call builds all of them.
/// Blocks.
pub fn plugin(name: &str) -> PathBuf {
    static BUILT: OnceLock<Built> = OnceLock::new();
    let built = BUILT.get_or_init(|| build("plugins", BuildOptions::default()));
    built
        .wasm_of(name)
        .unwrap_or_else(|| panic!("no plugin `{name}` among {:?}", built.artifacts))
        .to_owned()
}

/// The file of `hello`, built with a version, which `greet` returns. Blocks.
pub fn hello_version(version: &str) -> PathBuf {
    let options = BuildOptions {
        package: Some("hello".to_owned()),
        env: vec![("HELLO_VERSION".to_owned(), version.to_owned())],
        ..BuildOptions::default()
    };
    let built = build(&format!("plugins-hello-{version}"), options);
    built.wasm_of("hello").expect("hello is built").to_owned()
}

/// A new plugin directory with the given example plugins.
pub fn plugin_dir(names: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::Builder::new()
        .prefix("pgtq-test-plugins-")
        .tempdir()
        .expect("a temporary directory is created");
    for name in names {
        let file = plugin(name);
        let copy = dir.path().join(format!("{name}.wasm"));
        std::fs::copy(&file, copy).expect("a plugin is copied");
    }
    dir
}

/// Builds the plugins, and copies the files to the subdirectory `out` of the target
/// directory, where other builds do not change them.
fn build(out: &str, options: BuildOptions) -> Built {
    let dir = repository().join("plugins");
    let toolchain = Toolchain::ensure(&dir, &|line| eprintln!("{line}"))
        .unwrap_or_else(|missing| panic!("{missing}\n  help: {}", missing.fix));
    let options = BuildOptions {
        out_dir: Some(target_dir().join("tmp").join(out)),
        output: CompilerOutput::Keep,
        ..options
    };
    match build_plugin(&toolchain, &dir, &options) {
        Ok(built) => built,
        Err(BuildError::Compile { text, .. }) => panic!("the plugins do not compile\n{text}"),
        Err(error) => panic!("{error}"),
    }
}
