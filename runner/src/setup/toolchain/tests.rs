//! Real builds, with whatever toolchain this machine has.

use std::fs;
use std::path::Path;

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
fn crate_anywhere_becomes_a_component() {
    let dir = tempfile::tempdir().unwrap();
    write_crate(dir.path(), SOURCE);
    let options = BuildOptions {
        output: Output::Keep,
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
fn words_of_the_compiler_are_kept_verbatim() {
    let dir = tempfile::tempdir().unwrap();
    write_crate(dir.path(), "pub fn broken() -> u8 { \"text\" }\n");
    let options = BuildOptions {
        output: Output::Keep,
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
fn directory_without_a_crate_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = build_plugin(&toolchain(dir.path()), dir.path(), &BuildOptions::default());
    assert!(matches!(error, Err(BuildError::NoCrate(_))));
}

#[test]
fn crate_that_is_no_plugin_is_told_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    write_crate(dir.path(), SOURCE);
    let manifest = dir.path().join("Cargo.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("cdylib", "rlib")).unwrap();
    let options = BuildOptions {
        output: Output::Keep,
        ..BuildOptions::default()
    };
    let error = build_plugin(&toolchain(dir.path()), dir.path(), &options).unwrap_err();
    assert!(error.to_string().contains("crate-type"), "{error}");
}
