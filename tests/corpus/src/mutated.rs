//! Mutations by wasm-mutate, which keep modules well-formed.

use std::io;
use std::ops::Range;

use wasm_mutate::WasmMutate;
use wasmparser::{Parser, Payload};

use crate::{Corpus, Rng};

/// The maximum number of tries per mutation, to limit the time for large modules.
const FUEL: u64 = 1_000;

/// Writes up to `count` mutations of the modules.
pub(crate) fn of_modules(
    corpus: &mut Corpus,
    rng: &mut Rng,
    count: u64,
    modules: &[Vec<u8>],
) -> io::Result<()> {
    for _ in 0..count {
        let module = &modules[rng.below(modules.len())];
        if let Some(bytes) = mutation(module, rng) {
            corpus.add("mutated-module", &bytes)?;
        }
    }
    Ok(())
}

/// Writes up to `count` plugins whose largest core module is mutated up to four times. The
/// rest is unchanged, so that many of them are loaded.
pub(crate) fn of_plugin(
    corpus: &mut Corpus,
    rng: &mut Rng,
    count: u64,
    plugin: &[u8],
) -> io::Result<()> {
    let Some(range) = largest_module(plugin) else {
        eprintln!("a plugin has no core module and is left out");
        return Ok(());
    };
    for _ in 0..count {
        let mut module = plugin[range.clone()].to_vec();
        for _ in 0..=rng.below(4) {
            module = mutation(&module, rng).unwrap_or(module);
        }
        if let Some(bytes) = with_module(plugin, &range, &module) {
            corpus.add("mutated-plugin", &bytes)?;
        }
    }
    Ok(())
}

fn mutation(module: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let mut mutate = WasmMutate::default();
    mutate.seed(rng.next()).fuel(FUEL);
    mutate.run(module).ok()?.next()?.ok()
}

fn largest_module(component: &[u8]) -> Option<Range<usize>> {
    let modules = Parser::new(0)
        .parse_all(component)
        .filter_map(|payload| match payload.ok()? {
            Payload::ModuleSection {
                unchecked_range, ..
            } => Some(unchecked_range.start as usize..unchecked_range.end as usize),
            _ => None,
        });
    modules.max_by_key(ExactSizeIterator::len)
}

/// Replaces a module of a component; `None` if the length of the module does not have the
/// shortest encoding.
fn with_module(component: &[u8], range: &Range<usize>, module: &[u8]) -> Option<Vec<u8>> {
    let head = component[..range.start].strip_suffix(&*leb(range.len()))?;
    Some([head, &leb(module.len()), module, &component[range.end..]].concat())
}

fn leb(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}
