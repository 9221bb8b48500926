//! Reads the structure of a WebAssembly file.

use wasmparser::{
    BinaryReader, ComponentExternalKind, ComponentTypeRef, CustomSectionReader, Encoding, Parser,
    Payload, ProducersSectionReader, Validator, WasmFeatures,
};

use super::LoadError;
use super::inspect::FileForm;
use super::looks;

/// The section that lists handlers.
const HANDLERS_SECTION: &str = "pgtq.handlers";
/// Where wit-bindgen leaves what a component's world was.
const WORLD_SECTION: &str = "component-type";
/// Bytes of handler list that are read.
const MAX_HANDLERS_BYTES: usize = 4 << 20;
/// Imports or exports, and their names' bytes, that are taken note of.
const MAX_NAMES: usize = 1_000;
const MAX_NAME_BYTES: usize = 200;

/// What the engine runs: see [`super::engine`], which switches off the rest.
const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::CALL_INDIRECT_OVERLONG)
    .union(WasmFeatures::BULK_MEMORY_OPT)
    .union(WasmFeatures::COMPONENT_MODEL);

/// What the file holds, not yet judged.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) form: FileForm,
    /// Sorted, each once.
    pub(super) imports: Vec<String>,
    pub(super) exports: Vec<String>,
    /// All sections that list handlers, one after the other.
    pub(super) handlers: Vec<u8>,
    pub(super) producers: Vec<(String, String, String)>,
    has_world: bool,
}

/// Validates the file and reads its structure.
pub(super) fn walk(bytes: &[u8]) -> Result<Facts, LoadError> {
    let form = form(bytes)?;
    let wrong = |error| invalid(&error, bytes.len());
    Validator::new_with_features(FEATURES)
        .validate_all(bytes)
        .map_err(wrong)?;
    let mut facts = Facts {
        form,
        imports: Vec::new(),
        exports: Vec::new(),
        handlers: Vec::new(),
        producers: Vec::new(),
        has_world: false,
    };
    let mut nesting = Nesting::default();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(wrong)?;
        nesting.note(&payload)?;
        if nesting.depth() <= 1 {
            facts.note(&payload, nesting.depth()).map_err(wrong)?;
        }
    }
    facts.imports.sort();
    facts.imports.dedup();
    if facts.form == FileForm::CoreModule && !facts.has_world {
        return Err(LoadError::CoreModule);
    }
    Ok(facts)
}

fn form(bytes: &[u8]) -> Result<FileForm, LoadError> {
    match bytes {
        [] => return Err(LoadError::Empty),
        [0, b'a', b's', b'm', ..] => {}
        short if b"\0asm".starts_with(short) => {
            return Err(LoadError::Truncated {
                at: short.len() as u64,
            });
        }
        other => {
            return Err(LoadError::NotWasm {
                looks_like: looks::like(other),
            });
        }
    }
    match bytes.get(4..8) {
        Some([1, 0, 0, 0]) => Ok(FileForm::CoreModule),
        Some([0x0d, 0, 1, 0]) => Ok(FileForm::Component),
        Some(other) => Err(LoadError::Invalid {
            at: 4,
            reason: format!("unknown version {other:02x?}"),
        }),
        None => Err(LoadError::Truncated {
            at: bytes.len() as u64,
        }),
    }
}

fn invalid(error: &wasmparser::Error, bytes: usize) -> LoadError {
    let at = error.offset() as u64;
    let ends = ["unexpected end", "out of bounds"];
    // An end that is missed in the middle is damage; at the end it is a cut.
    if ends.iter().any(|text| error.message().contains(text)) {
        return LoadError::Truncated { at: bytes as u64 };
    }
    let reason = error.message().lines().next_back().unwrap_or_default();
    LoadError::Invalid {
        at,
        reason: super::logs::clean(reason, 300),
    }
}

/// Modules and components that are open around the current payload.
#[derive(Default)]
struct Nesting {
    open: Vec<Encoding>,
    started: bool,
}

impl Nesting {
    fn depth(&self) -> usize {
        self.open.len().saturating_sub(1)
    }

    fn note(&mut self, payload: &Payload<'_>) -> Result<(), LoadError> {
        match payload {
            Payload::Version { encoding, .. } => {
                let nested_component = |open: &&Encoding| matches!(open, Encoding::Component);
                // wasm-component-ld nests components that hold nothing but
                // renamed exports. One with code or children of its own was
                // composed, and composition is where sandboxes leaked.
                if self.open.iter().filter(nested_component).count() > 1 {
                    return Err(LoadError::Composed(match encoding {
                        Encoding::Module => "a component with code of its own".to_owned(),
                        Encoding::Component => "components inside components".to_owned(),
                    }));
                }
                self.open.push(*encoding);
                self.started = true;
            }
            Payload::End(_) if self.started && self.open.len() > 1 => {
                self.open.pop();
            }
            _ => {}
        }
        Ok(())
    }
}

impl Facts {
    fn note(&mut self, payload: &Payload<'_>, depth: usize) -> wasmparser::Result<()> {
        match payload {
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section.clone() {
                    let import = import?;
                    // A type that is only named, as a world that `use`s one does.
                    if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                        keep(&mut self.imports, import.name.name);
                    }
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section.clone() {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Func
                        || export.kind == ComponentExternalKind::Instance
                    {
                        keep(&mut self.exports, export.name.name);
                    }
                }
            }
            Payload::ImportSection(section) if depth == 0 => {
                for import in section.clone().into_imports() {
                    keep(&mut self.imports, import?.module);
                }
            }
            Payload::CustomSection(section) => self.custom(section)?,
            _ => {}
        }
        Ok(())
    }

    fn custom(&mut self, section: &CustomSectionReader<'_>) -> wasmparser::Result<()> {
        match section.name() {
            HANDLERS_SECTION => {
                let room = MAX_HANDLERS_BYTES.saturating_sub(self.handlers.len());
                let data = section.data();
                self.handlers
                    .extend_from_slice(&data[..data.len().min(room)]);
            }
            // Not ours to judge: a bad one is no reason to refuse the file.
            "producers" => drop(self.produced(section)),
            name if name.starts_with(WORLD_SECTION) => self.has_world = true,
            _ => {}
        }
        Ok(())
    }

    fn produced(&mut self, section: &CustomSectionReader<'_>) -> wasmparser::Result<()> {
        let reader = BinaryReader::new(section.data(), section.data_offset());
        for field in ProducersSectionReader::new(reader)? {
            let field = field?;
            for value in field.values {
                let value = value?;
                let made = [field.name, value.name, value.version];
                let [field, tool, version] = made.map(|text| super::logs::clean(text, 100));
                let made = (field, tool, version);
                if self.producers.len() < MAX_NAMES && !self.producers.contains(&made) {
                    self.producers.push(made);
                }
            }
        }
        Ok(())
    }
}

fn keep(names: &mut Vec<String>, name: &str) {
    let name = super::logs::clean(name, MAX_NAME_BYTES);
    if names.len() < MAX_NAMES && names.last() != Some(&name) {
        names.push(name);
    }
}
