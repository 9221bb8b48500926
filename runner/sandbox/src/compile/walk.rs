//! Reads the outline of a WebAssembly file: the headers of its sections, the names of its
//! imports and exports, and a few custom sections.
//!
//! This runs in the runner itself, on untrusted bytes, so it never reads functions, types
//! or data, and everything that it reads and keeps has a limit. The compiling child,
//! which may run out of memory and time, validates the file: see [`validate`].

use std::collections::BTreeSet;

use wasmparser::{
    BinaryReader, Chunk, ComponentExternalKind, ComponentTypeRef, CustomSectionReader, Encoding,
    Parser, Payload, ProducersSectionReader, Validator, WasmFeatures,
};

use crate::compile::file_form::FileForm;
use crate::error::LoadError;

/// The section that lists handlers.
const HANDLERS_SECTION: &str = "pgtq.handlers";
/// Where wit-bindgen stores a component's world.
const WORLD_SECTION: &str = "component-type";
/// Bytes of the handler list that are read.
const MAX_HANDLERS_BYTES: usize = 4 << 20;
/// Maximum number of different imports or exports of a file, and of the bytes of each
/// name that are kept.
const MAX_NAMES: usize = 1_000;
const MAX_NAME_BYTES: usize = 200;
/// Maximum number of imports or exports that are read: a core module imports many
/// functions of one interface.
const MAX_ENTRIES: usize = 100_000;
/// Maximum number of sections of the file and of what is nested in it. Compilers make
/// some dozens.
const MAX_SECTIONS: usize = 100_000;
/// Maximum number of recorded tools, and of the bytes of the sections that list them.
const MAX_PRODUCERS: usize = 100;
const MAX_PRODUCERS_BYTES: usize = 64 << 10;

/// The features that the engine supports: see [`crate::engine`], which disables the rest.
const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::CALL_INDIRECT_OVERLONG)
    .union(WasmFeatures::BULK_MEMORY_OPT)
    .union(WasmFeatures::COMPONENT_MODEL);

/// The contents of the file, not yet validated.
#[derive(Debug)]
pub(crate) struct ModuleFacts {
    pub(crate) form: FileForm,
    pub(crate) imports: BTreeSet<String>,
    pub(crate) exports: BTreeSet<String>,
    /// All sections that list handlers, concatenated.
    pub(crate) handlers: Vec<u8>,
    pub(crate) producers: Vec<(String, String, String)>,
    has_world: bool,
    n_entries: usize,
}

/// Reads the file's outline. Takes time at most linear in the file's size, and memory
/// within the limits above.
pub(crate) fn walk(bytes: &[u8]) -> Result<ModuleFacts, LoadError> {
    let mut facts = ModuleFacts {
        form: form(bytes)?,
        imports: BTreeSet::new(),
        exports: BTreeSet::new(),
        handlers: Vec::new(),
        producers: Vec::new(),
        has_world: false,
        n_entries: 0,
    };
    let mut nesting = Nesting::default();
    let mut n_sections = 0;
    outline(bytes, |payload| {
        n_sections += 1;
        if n_sections > MAX_SECTIONS {
            return Err(LoadError::TooMany("sections", MAX_SECTIONS));
        }
        nesting.note(payload)?;
        match nesting.depth() {
            depth @ 0..=1 => facts.note(payload, depth, bytes.len()),
            _ => Ok(()),
        }
    })?;
    if facts.form == FileForm::CoreModule && !facts.has_world {
        return Err(LoadError::CoreModule);
    }
    Ok(facts)
}

/// Validates the whole file, functions and types too. A crafted file makes this take any
/// amount of memory: only for a process with limits.
pub(crate) fn validate(bytes: &[u8]) -> Result<(), LoadError> {
    Validator::new_with_features(FEATURES)
        .validate_all(bytes)
        .map_err(|error| invalid(&error, bytes.len()))?;
    Ok(())
}

/// Passes every section to `see`, nested ones too, but no function.
fn outline(
    bytes: &[u8],
    mut see: impl FnMut(&Payload<'_>) -> Result<(), LoadError>,
) -> Result<(), LoadError> {
    let cut = || LoadError::Truncated {
        at: bytes.len() as u64,
    };
    let mut parser = Parser::new(0);
    parser.set_features(FEATURES);
    // No deeper than `see` allows.
    let mut parents = Vec::new();
    let mut rest = bytes;
    loop {
        let chunk = parser.parse(rest, true);
        let Chunk::Parsed { consumed, payload } =
            chunk.map_err(|error| invalid(&error, bytes.len()))?
        else {
            return Err(cut());
        };
        rest = rest.get(consumed..).ok_or_else(cut)?;
        see(&payload)?;
        match payload {
            Payload::CodeSectionStart { size, .. } => {
                rest = rest.get(size as usize..).ok_or_else(cut)?;
                parser.skip_section();
            }
            Payload::ModuleSection { parser: nested, .. }
            | Payload::ComponentSection { parser: nested, .. } => {
                parents.push(std::mem::replace(&mut parser, nested));
            }
            Payload::End(_) => match parents.pop() {
                Some(parent) => parser = parent,
                None => return Ok(()),
            },
            _ => {}
        }
    }
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
            let text = other.trim_ascii_start();
            // Nothing of the file is quoted: it may be a link to a secret, and everybody
            // who lists plugins sees the reason.
            return match text.starts_with(b"(module") || text.starts_with(b"(component") {
                true => Err(LoadError::Text),
                false => Err(LoadError::NotWasm),
            };
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
    // A missing end in the middle is damage; at the end of the file it is truncation.
    if ends.iter().any(|text| error.message().contains(text)) {
        return LoadError::Truncated { at: bytes as u64 };
    }
    let reason = error.message().lines().next_back().unwrap_or_default();
    LoadError::Invalid {
        at,
        reason: crate::text::clean(reason, 300),
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

    fn is_nested(&self) -> bool {
        let is_component = |open: &&Encoding| matches!(open, Encoding::Component);
        self.open.iter().filter(is_component).count() > 1
    }

    fn note(&mut self, payload: &Payload<'_>) -> Result<(), LoadError> {
        match payload {
            Payload::Version { encoding, .. } => {
                // wasm-component-ld nests components that hold only renamed exports. A
                // component with code or children of its own was composed, and
                // composition is where sandboxes leaked.
                if self.is_nested() {
                    return Err(LoadError::Composed(match encoding {
                        Encoding::Module => "a component with its own code".to_owned(),
                        Encoding::Component => "components inside components".to_owned(),
                    }));
                }
                self.open.push(*encoding);
                self.started = true;
            }
            // Code of the outer component, brought in by an alias.
            Payload::InstanceSection(section) if self.is_nested() && section.count() > 0 => {
                return Err(LoadError::Composed(
                    "a component with instances of modules".to_owned(),
                ));
            }
            Payload::ComponentCanonicalSection(section)
                if self.is_nested() && section.count() > 0 =>
            {
                return Err(LoadError::Composed(
                    "a component that lifts or lowers functions".to_owned(),
                ));
            }
            Payload::End(_) if self.started && self.open.len() > 1 => {
                self.open.pop();
            }
            _ => {}
        }
        Ok(())
    }
}

impl ModuleFacts {
    fn note(
        &mut self,
        payload: &Payload<'_>,
        depth: usize,
        file_bytes: usize,
    ) -> Result<(), LoadError> {
        let wrong = |error| invalid(&error, file_bytes);
        match payload {
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section.clone() {
                    let import = import.map_err(wrong)?;
                    self.count()?;
                    // A type that is only named, as by a world that `use`s one.
                    if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                        keep(&mut self.imports, import.name.name, "imports")?;
                    }
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section.clone() {
                    let export = export.map_err(wrong)?;
                    self.count()?;
                    if export.kind == ComponentExternalKind::Func
                        || export.kind == ComponentExternalKind::Instance
                    {
                        keep(&mut self.exports, export.name.name, "exports")?;
                    }
                }
            }
            Payload::ImportSection(section) if depth == 0 => {
                for import in section.clone().into_imports() {
                    let import = import.map_err(wrong)?;
                    self.count()?;
                    keep(&mut self.imports, import.module, "imports")?;
                }
            }
            Payload::CustomSection(section) => self.custom(section),
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), LoadError> {
        self.n_entries += 1;
        match self.n_entries > MAX_ENTRIES {
            true => Err(LoadError::TooMany("imports and exports", MAX_ENTRIES)),
            false => Ok(()),
        }
    }

    fn custom(&mut self, section: &CustomSectionReader<'_>) {
        match section.name() {
            HANDLERS_SECTION => {
                let room = MAX_HANDLERS_BYTES.saturating_sub(self.handlers.len());
                let data = section.data();
                self.handlers
                    .extend_from_slice(&data[..data.len().min(room)]);
            }
            // Not for us to validate: an invalid one is no reason to reject the file.
            "producers" if section.data().len() <= MAX_PRODUCERS_BYTES => {
                drop(self.produced(section));
            }
            name if name.starts_with(WORLD_SECTION) => self.has_world = true,
            _ => {}
        }
    }

    fn produced(&mut self, section: &CustomSectionReader<'_>) -> wasmparser::Result<()> {
        let reader = BinaryReader::new(section.data(), section.data_offset());
        for field in ProducersSectionReader::new(reader)? {
            let field = field?;
            for value in field.values {
                let value = value?;
                if self.producers.len() >= MAX_PRODUCERS {
                    return Ok(());
                }
                let made = [field.name, value.name, value.version];
                let [field, tool, version] = made.map(|text| crate::text::clean(text, 100));
                let made = (field, tool, version);
                if !self.producers.contains(&made) {
                    self.producers.push(made);
                }
            }
        }
        Ok(())
    }
}

fn keep(names: &mut BTreeSet<String>, name: &str, what: &'static str) -> Result<(), LoadError> {
    if names.insert(crate::text::clean(name, MAX_NAME_BYTES)) && names.len() > MAX_NAMES {
        return Err(LoadError::TooMany(what, MAX_NAMES));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_file_is_quoted() {
        for (bytes, expected) in [
            (&b"hunter2"[..], LoadError::NotWasm),
            (b"{\"password\": \"hunter2\"}", LoadError::NotWasm),
            (b"\xffhunter2", LoadError::NotWasm),
            (b"\n(module \"hunter2\")", LoadError::Text),
            (b"(component)", LoadError::Text),
        ] {
            let error = form(bytes).expect_err("this is not WebAssembly");
            assert_eq!(error, expected);
            assert!(!error.to_string().contains("hunter"), "{error}");
        }
    }
}
