//! Tests with real builds, with the toolchain of this machine.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::*;

fn write_crate(dir: &Path, source: &str) {
    let manifest = "[package]\nname = \"tiny-plugin\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
                    [lib]\ncrate-type = [\"cdylib\"]\n[workspace]\n";
    fs::create_dir_all(dir.join("src")).unwrap();
    fs::write(dir.join("Cargo.toml"), manifest).unwrap();
    fs::write(dir.join("src/lib.rs"), source).unwrap();
}

fn toolchain(dir: &Path) -> Toolchain {
    Toolchain::ensure(dir, &|line| eprintln!("{line}")).unwrap()
}

const SOURCE: &str = "#[unsafe(no_mangle)]\npub extern \"C\" fn hi() { println!(\"hi\"); }\n";

#[test]
fn a_crate_in_any_directory_builds_a_component() {
    let dir = tempfile::tempdir().unwrap();
    write_crate(dir.path(), SOURCE);
    let options = BuildOptions {
        output: CompilerOutput::Keep,
        target_dir: Some(dir.path().join("target")),
        out_dir: Some(dir.path().join("out")),
        ..BuildOptions::default()
    };
    let built = build_plugin(&toolchain(dir.path()), dir.path(), &options).unwrap();
    let wasm = built.wasm_of("tiny-plugin").unwrap();
    assert_eq!(wasm, dir.path().join("out/tiny_plugin.wasm"));
    let bytes = fs::read(wasm).unwrap();
    assert_eq!(
        &bytes[..8],
        b"\0asm\x0d\0\x01\0",
        "a component, not a module"
    );
}

#[test]
fn a_compile_error_contains_the_compilers_output() {
    let dir = tempfile::tempdir().unwrap();
    write_crate(dir.path(), "pub fn broken() -> u8 { \"text\" }\n");
    let options = BuildOptions {
        output: CompilerOutput::Keep,
        ..BuildOptions::default()
    };
    let error = build_plugin(&toolchain(dir.path()), dir.path(), &options).unwrap_err();
    let BuildError::Compile { text, .. } = error else {
        panic!("{error}");
    };
    assert!(text.contains("error[E0308]: mismatched types"), "{text}");
    assert!(text.contains("src/lib.rs:1:"), "{text}");
}

#[test]
fn a_directory_without_a_crate_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let error = build_plugin(&toolchain(dir.path()), dir.path(), &BuildOptions::default());
    assert!(matches!(error, Err(BuildError::NoCrate(_))));
}

#[test]
fn a_crate_without_cdylib_is_rejected_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    write_crate(dir.path(), SOURCE);
    let manifest = dir.path().join("Cargo.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("cdylib", "rlib")).unwrap();
    let options = BuildOptions {
        output: CompilerOutput::Keep,
        ..BuildOptions::default()
    };
    let error = build_plugin(&toolchain(dir.path()), dir.path(), &options).unwrap_err();
    assert!(error.to_string().contains("crate-type"), "{error}");
}

/// A plugin in a workspace with everything that can put a path into the file: a path
/// dependency outside the workspace, its generic code, output of a build script, a macro,
/// panic locations.
fn write_workspace(root: &Path, library: &str) -> PathBuf {
    let write = |file: &str, text: &str| {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let package = |name: &str, rest: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{rest}")
    };
    write(
        "plugins/Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"tiny\"]\n",
    );
    write(
        "plugins/tiny/Cargo.toml",
        &package(
            "tiny-plugin",
            "[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n[dependencies]\n\
             helper = { path = \"../../helper\", features = [\"loud\"] }\n\
             marker = { path = \"../../marker\" }\n",
        ),
    );
    write(
        "plugins/tiny/build.rs",
        r#"fn main() {
            let out = std::path::PathBuf::from(std::env::var("OUT_DIR").unwrap());
            std::fs::write(out.join("made.rs"), "pub fn made(n: u32) -> u32 { 7 / n }").unwrap();
        }"#,
    );
    write(
        "plugins/tiny/src/lib.rs",
        r#"include!(concat!(env!("OUT_DIR"), "/made.rs"));
        #[marker::marked]
        #[unsafe(no_mangle)]
        pub extern "C" fn hi(n: u32) {
            println!("{} {}", helper::nth(&[made(n), n, 3], n as usize), file!());
            println!("{:?}", std::any::TypeId::of::<helper::Kept>());
        }"#,
    );
    write(
        "helper/Cargo.toml",
        &package("helper", "[features]\nloud = []\n"),
    );
    write("helper/src/lib.rs", library);
    write(
        "marker/Cargo.toml",
        &package("marker", "[lib]\nproc-macro = true\n"),
    );
    write(
        "marker/src/lib.rs",
        r#"use proc_macro::TokenStream;
        #[proc_macro_attribute]
        pub fn marked(_: TokenStream, item: TokenStream) -> TokenStream { item }"#,
    );
    root.join("plugins")
}

const LIBRARY: &str = r#"pub struct Kept;
    pub fn nth<T: Copy + std::fmt::Debug>(all: &[T], n: usize) -> T {
        if n > 9 { panic!("{:?} at {}", all, file!()) }
        all[n]
    }"#;

fn built(dir: &Path, options: &BuildOptions) -> (Vec<u8>, Vec<String>) {
    let built = build_plugin(&toolchain(dir), dir, options).unwrap();
    let artifact = &built.artifacts[0];
    (fs::read(&artifact.wasm).unwrap(), artifact.paths.clone())
}

fn contains(file: &[u8], text: &str) -> bool {
    file.windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn a_build_in_any_directory_gives_the_same_file_without_local_paths() {
    let root = tempfile::tempdir().unwrap();
    let (short, long) = (root.path().join("a"), root.path().join("much/longer/path"));
    let cargo_home = reproducible::cargo_home(root.path(), None);
    let other_home = root.path().join("cargo-home");
    symlink(&cargo_home, &other_home).unwrap();
    for debug in [false, true] {
        let here = BuildOptions {
            debug,
            output: CompilerOutput::Keep,
            ..BuildOptions::default()
        };
        let elsewhere = BuildOptions {
            target_dir: Some(root.path().join("elsewhere")),
            env: vec![("CARGO_HOME".into(), other_home.display().to_string())],
            ..here.clone()
        };
        let (first, paths) = built(&write_workspace(&short, LIBRARY), &here);
        let (second, _) = built(&write_workspace(&long, LIBRARY), &elsewhere);
        assert!(first == second, "the files differ, debug: {debug}");
        assert_eq!(paths, [""; 0]);
        for path in [
            root.path(),
            &cargo_home,
            Path::new(env!("CARGO_MANIFEST_DIR")),
        ] {
            assert!(
                !contains(&first, &path.display().to_string()),
                "{}",
                path.display()
            );
        }
        for kept in [
            "/helper-0.1.0/src/lib.rs",
            "tiny/src/lib.rs",
            "/tiny-plugin-0.1.0/out/made.rs",
        ] {
            assert!(
                contains(&first, kept),
                "panic locations name the crate: {kept}"
            );
        }
    }
}

#[test]
fn a_local_path_in_the_file_is_reported() {
    let root = tempfile::tempdir().unwrap();
    let library = LIBRARY.replace("file!()", "env!(\"CARGO_MANIFEST_DIR\")");
    let options = BuildOptions {
        output: CompilerOutput::Keep,
        ..BuildOptions::default()
    };
    let (_, paths) = built(&write_workspace(root.path(), &library), &options);
    let helper = root.path().join("helper").display().to_string();
    assert_eq!(paths.len(), 1, "{paths:?}");
    assert!(paths[0].starts_with(&helper), "{paths:?}");
}

#[test]
fn the_example_plugin_contains_no_local_path() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    let options = BuildOptions {
        package: Some("hello".to_owned()),
        output: CompilerOutput::Keep,
        ..BuildOptions::default()
    };
    let (file, paths) = built(&dir, &options);
    assert_eq!(paths, [""; 0]);
    let home = reproducible::cargo_home(&dir, None).display().to_string();
    assert!(!contains(&file, &home));
    assert!(
        contains(&file, "/pgtq-sdk-0.1.0/src/"),
        "panics have locations"
    );
}
