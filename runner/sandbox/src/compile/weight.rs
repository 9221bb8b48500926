//! The host memory that the instances of a component take besides linear memory and
//! tables: wasmtime keeps each instance's globals and function references in a separate
//! block, and a file may declare a million globals.
//!
//! Runs in the compiling child, on a valid file.

use wasmparser::{ElementItems, Instance, Parser, Payload, TypeRef};

use crate::engine::MAX_INSTANCES;
use crate::error::LoadError;

/// Maximum bytes that the instances of one attempt may take: the limits leave 4 MiB for
/// them, the stack and the store. A Rust plugin takes some kilobytes, the largest of
/// other languages half a megabyte.
const MAX_BYTES: u64 = 2 << 20;

/// Bytes in an instance, as of wasmtime 48 and rounded up.
const GLOBAL: u64 = 24;
const FUNCTION: u64 = 32;
const OTHER: u64 = 64;

/// Rejects a component whose instances would take too much.
pub(crate) fn check(component: &[u8]) -> Result<(), LoadError> {
    let bytes = weigh(component).unwrap_or(0);
    match bytes <= MAX_BYTES {
        true => Ok(()),
        false => Err(LoadError::Compile(format!(
            "its instances would take {bytes} bytes for globals and function references, the limit is {MAX_BYTES}"
        ))),
    }
}

/// The sum over all instances; `None` for parts that cannot be read, which other checks
/// report. Modules of nested components count as often as there may be instances.
fn weigh(component: &[u8]) -> Option<u64> {
    let mut depth = 0;
    // By module of the outermost component, and of the nested ones together.
    let (mut modules, mut nested) = (Vec::new(), 0);
    let mut total = 0;
    let mut module: Option<Module> = None;
    for payload in Parser::new(0).parse_all(component) {
        match payload.ok()? {
            Payload::ModuleSection { .. } => {
                module = Some(Module::default());
                depth += 1;
            }
            Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => {
                if let Some(done) = module.take() {
                    match depth {
                        1 => modules.push(done.bytes()),
                        _ => nested += done.bytes(),
                    }
                }
                depth = usize::saturating_sub(depth, 1);
            }
            Payload::InstanceSection(instances) if depth == 0 => {
                for instance in instances {
                    if let Instance::Instantiate { module_index, .. } = instance.ok()? {
                        let weight = modules.get(module_index as usize);
                        // A module that is imported or aliased: the heaviest so far.
                        let heaviest = || modules.iter().max();
                        total += weight.or_else(heaviest).copied().unwrap_or(0);
                    }
                }
            }
            payload => {
                if let Some(module) = &mut module {
                    module.note(payload)?;
                }
            }
        }
    }
    Some(total + nested * MAX_INSTANCES as u64)
}

/// Counts of one core module.
#[derive(Default)]
struct Module {
    imported_functions: u64,
    globals: u64,
    others: u64,
    functions: u64,
    /// Functions that may be referenced; some perhaps counted twice.
    referred: u64,
}

impl Module {
    fn note(&mut self, payload: Payload<'_>) -> Option<()> {
        match payload {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    match import.ok()?.ty {
                        TypeRef::Func(_) | TypeRef::FuncExact(_) => self.imported_functions += 1,
                        TypeRef::Global(_) => self.globals += 1,
                        _ => self.others += 1,
                    }
                }
            }
            Payload::FunctionSection(functions) => self.functions += u64::from(functions.count()),
            Payload::GlobalSection(globals) => self.globals += u64::from(globals.count()),
            Payload::TableSection(tables) => self.others += u64::from(tables.count()),
            Payload::MemorySection(memories) => self.others += u64::from(memories.count()),
            Payload::ExportSection(exports) => self.referred += u64::from(exports.count()),
            Payload::ElementSection(elements) => {
                for element in elements {
                    self.others += 1;
                    self.referred += u64::from(match element.ok()?.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    });
                }
            }
            Payload::DataCountSection { count, .. } => self.others += u64::from(count),
            _ => {}
        }
        Some(())
    }

    fn bytes(&self) -> u64 {
        let functions = self.functions + self.imported_functions;
        // Globals may refer to functions, too.
        let referred = (self.referred + self.globals).min(functions);
        GLOBAL * self.globals
            + FUNCTION * (referred + self.imported_functions)
            + OTHER * (self.others + 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(globals: usize, instances: usize) -> Vec<u8> {
        let text = format!(
            "(component (core module $m {}) {})",
            "(global i64 (i64.const 0))".repeat(globals),
            "(core instance (instantiate $m))".repeat(instances)
        );
        wat::parse_str(text).expect("a component")
    }

    #[test]
    fn every_instance_counts() {
        let one = weigh(&component(1_000, 1)).expect("readable");
        assert_eq!(weigh(&component(1_000, 20)), Some(20 * one));
        assert!((24_000..25_000).contains(&one), "{one}");
    }

    #[test]
    fn a_component_with_too_many_globals_is_rejected() {
        assert!(check(&component(4_000, 20)).is_ok());
        let error = check(&component(5_000, 20)).expect_err("too many");
        assert!(error.to_string().contains("globals"), "{error}");
    }

    #[test]
    fn a_nested_module_counts_once_per_possible_instance() {
        let text = "(component (component (core module (global i64 (i64.const 0)))))";
        let nested = weigh(&wat::parse_str(text).expect("a component"));
        assert_eq!(nested, Some(20 * (GLOBAL + 8 * OTHER)));
    }
}
