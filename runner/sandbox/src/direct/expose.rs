//! Lets a component export the one core module that its author wrote.

use std::borrow::Cow;

use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentExternalKind, ExternalKind, Parser, Payload,
};

/// The name under which the module is exported.
pub(crate) const EXPORT: &str = "pgtq-main-module";

/// The table by which wit-component's two modules connect imports to the author's.
const TIE: &str = "$imports";
/// The section's id, and the code of a core module among the kinds of exports.
const EXPORT_SECTION: u8 = 11;
const CORE_MODULE: [u8; 2] = [0x00, 0x11];

/// Adds the export to an ordinary component; returns any other unchanged. `wasm` is
/// valid.
///
/// Ordinary is what wit-component makes of one module that uses WASI 0.2 itself: that
/// module, its own two, no nested component. The names of the imports and exports then
/// determine how these modules are connected.
pub(crate) fn expose(wasm: &[u8]) -> Cow<'_, [u8]> {
    match is_ordinary(wasm) {
        Some(true) => Cow::Owned([wasm, &section()].concat()),
        _ => Cow::Borrowed(wasm),
    }
}

/// One export: the component's first core module. Every number is below 128, so it is its
/// own LEB128 encoding.
fn section() -> Vec<u8> {
    let mut export = vec![1, 0, EXPORT.len() as u8];
    export.extend(EXPORT.as_bytes());
    export.extend(CORE_MODULE);
    // The first module, without an explicit type.
    export.extend([0, 0]);
    let mut section = vec![EXPORT_SECTION, export.len() as u8];
    section.extend(export);
    section
}

/// Whether a function of the component passes strings in UTF-8, if it passes any.
fn is_utf8(function: &CanonicalFunction) -> bool {
    let (CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. }) =
        function
    else {
        return true;
    };
    !options.iter().any(|option| {
        matches!(
            option,
            CanonicalOption::UTF16 | CanonicalOption::CompactUTF16
        )
    })
}

/// `None` for parts that cannot be read, which other checks report.
fn is_ordinary(wasm: &[u8]) -> Option<bool> {
    let mut n_modules = 0;
    let [mut has_shim, mut has_fixups] = [false; 2];
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.ok()? {
            Payload::ModuleSection { .. } => n_modules += 1,
            Payload::ComponentSection { .. } | Payload::ComponentStartSection { .. } => {
                return Some(false);
            }
            Payload::ExportSection(exports) if n_modules == 2 => {
                for export in exports {
                    let export = export.ok()?;
                    has_shim |= export.name == TIE && export.kind == ExternalKind::Table;
                }
            }
            Payload::ImportSection(imports) if n_modules == 3 => {
                for import in imports.into_imports() {
                    let import = import.ok()?;
                    has_fixups |= import.module.is_empty() && import.name == TIE;
                }
            }
            // The direct path supports strings in UTF-8 only.
            Payload::ComponentCanonicalSection(functions) => {
                for function in functions {
                    if !is_utf8(&function.ok()?) {
                        return Some(false);
                    }
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports {
                    if matches!(import.ok()?.ty, wasmparser::ComponentTypeRef::Module(_)) {
                        return Some(false);
                    }
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports {
                    let export = export.ok()?;
                    if export.kind == ComponentExternalKind::Module || export.name.name == EXPORT {
                        return Some(false);
                    }
                }
            }
            _ => {}
        }
    }
    Some(n_modules == 3 && has_shim && has_fixups)
}
