//! Every function that a plugin may import, read from the WIT files of wasmtime's WASI
//! crates and from our own contract.

use std::path::{Path, PathBuf};
use std::process::Command;

use wit_parser::{Function, Resolve, WorldId};

use crate::tests::guests::read;

/// Interfaces that plugins export, or that none of our worlds contains.
const EXPORTED: [&str; 2] = ["wasi:cli/run@", "wasi:http/incoming-handler@"];

/// All interfaces of the contract and of WASI in one world.
pub(super) struct World {
    pub(super) resolve: Resolve,
    pub(super) world: WorldId,
}

/// One function, as a core module imports it.
pub(super) struct Import<'a> {
    pub(super) interface: String,
    pub(super) function: &'a Function,
}

impl Import<'_> {
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.interface, self.function.name)
    }

    /// Whether it has no effect outside of the attempt before its end, so that a guest
    /// with no other imports runs without its component.
    pub(super) fn is_local(&self) -> bool {
        let local = ["context", "log", "progress", "push"];
        local
            .iter()
            .any(|name| self.interface.starts_with(&format!("pgtq:plugin/{name}@")))
    }
}

impl World {
    pub(super) fn new() -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let deps = dir.path().join("deps");
        copy(&crate_dir("wasmtime-wasi-http").join("wit/deps"), &deps);
        std::fs::create_dir(deps.join("pgtq")).expect("a directory");
        std::fs::write(
            deps.join("pgtq/pgtq.wit"),
            read("../../sdk/contract/wit/pgtq.wit"),
        )
        .expect("a file");
        let text = |imports: &[String]| {
            let imports: Vec<String> = imports.iter().map(|i| format!("import {i};\n")).collect();
            format!(
                "package test:all;\nworld all {{ include pgtq:plugin/plugin@1.0.0;\n{} }}",
                imports.concat()
            )
        };
        let parse = |imports: &[String]| {
            std::fs::write(dir.path().join("all.wit"), text(imports)).expect("a file");
            let mut resolve = Resolve::default();
            let (package, _) = resolve.push_dir(dir.path()).expect("WIT");
            let world = resolve.select_world(&[package], None).expect("a world");
            World { resolve, world }
        };
        let all = parse(&[]);
        let names = all.resolve.interfaces.iter();
        let names = names.filter_map(|(id, _)| all.resolve.id_of(id));
        let names = names.filter(|name| {
            name.starts_with("wasi:") && !EXPORTED.iter().any(|e| name.starts_with(e))
        });
        parse(&names.collect::<Vec<_>>())
    }

    /// Every function, sorted by name.
    pub(super) fn imports(&self) -> Vec<Import<'_>> {
        let world = &self.resolve.worlds[self.world];
        let mut imports = Vec::new();
        for key in world.imports.keys() {
            let interface = self.resolve.name_world_key(key);
            let wit_parser::WorldKey::Interface(id) = key else {
                continue;
            };
            for function in self.resolve.interfaces[*id].functions.values() {
                imports.push(Import {
                    interface: interface.clone(),
                    function,
                });
            }
        }
        imports.sort_by_key(|import| (import.interface.clone(), import.function.name.clone()));
        imports
    }
}

/// The directory where cargo keeps a dependency's source.
fn crate_dir(name: &str) -> PathBuf {
    // Without it cargo requires the crates of every platform, which were not downloaded.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline"])
        .args(["--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata");
    let metadata: serde_json::Value =
        serde_json::from_slice(&metadata.stdout).expect("cargo's own JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages.iter().find(|package| package["name"] == name);
    let manifest = package.expect("a dependency")["manifest_path"].as_str();
    let dir = Path::new(manifest.expect("a path")).parent();
    dir.expect("a directory").to_owned()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("WIT files") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}
