//! Tiny plugins: every handler returns the plugin's version.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The contract, read from the SDK.
const CONTRACT: &str = include_str!("../../../../../sdk/contract/wit/pgtq.wit");

/// Lays out memory by hand: the manifest at 1024, the version at 900, and the two return
/// areas that the canonical ABI requires.
const MODULE: &str = r#"
(module
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (data (i32.const 1024) "MANIFEST")
  (data (i32.const 900) "VERSION")
  (func (export "describe") (result i32)
    (i32.store (i32.const 512) (i32.const 1024))
    (i32.store (i32.const 516) (i32.const MANIFEST_LENGTH))
    (i32.const 512))
  (func (export "run") (param i32 i32 i32 i32) (result i32)
    (i32.store8 (i32.const 256) (i32.const 0))
    (i32.store (i32.const 264) (i32.const 900))
    (i32.store (i32.const 268) (i32.const VERSION_LENGTH))
    (i32.const 256)))
"#;

/// A component whose handlers all return `version`.
pub(super) fn component(version: u32, handlers: &[&str]) -> Vec<u8> {
    let listed = handlers
        .iter()
        .map(|name| format!(r#"{{"name":"{name}"}}"#));
    listing(version, &listed.collect::<Vec<_>>())
}

/// The same with one handler `x` that declares these needs, as JSON.
pub(super) fn needy(version: u32, needs: &str) -> Vec<u8> {
    listing(version, &[format!(r#"{{"name":"x","needs":{needs}}}"#)])
}

fn listing(version: u32, listed: &[String]) -> Vec<u8> {
    let manifest = format!(
        r#"{{"contract":"1.0.0","plugin":{{"name":"tiny","version":"{version}"}},"handlers":[{}]}}"#,
        listed.join(",")
    );
    let version = version.to_string();
    let text = MODULE
        .replace("MANIFEST_LENGTH", &manifest.len().to_string())
        .replace("VERSION_LENGTH", &version.len().to_string())
        .replace("MANIFEST", &manifest.replace('"', "\\22"))
        .replace("VERSION", &version);
    let mut module = wat::parse_str(&text).expect("a module");
    let mut resolve = Resolve::default();
    let package = resolve
        .push_str("pgtq.wit", CONTRACT)
        .expect("the contract");
    let world = resolve.select_world(&[package], None).expect("the world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("room");
    append_handler_list(&mut module, listed);
    let mut encoder = ComponentEncoder::default()
        .module(&module)
        .expect("a module that fits the contract");
    encoder.encode().expect("a component")
}

/// The custom section `pgtq.handlers`: for each handler a length and its JSON.
fn append_handler_list(module: &mut Vec<u8>, listed: &[String]) {
    const NAME: &str = "pgtq.handlers";
    let mut body = vec![NAME.len() as u8];
    body.extend_from_slice(NAME.as_bytes());
    for json in listed {
        body.extend_from_slice(&(json.len() as u32).to_le_bytes());
        body.extend_from_slice(json.as_bytes());
    }
    assert!(body.len() < 1 << 14, "the length below takes two bytes");
    module.push(0);
    module.extend_from_slice(&[body.len() as u8 | 0x80, (body.len() >> 7) as u8]);
    module.append(&mut body);
}
