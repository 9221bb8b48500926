//! Mutations by wasm-mutate, which keep a module's form and change what it says.

use std::io;
use std::ops::Range;

use wasm_mutate::WasmMutate;
use wasmparser::{Parser, Payload};

use crate::{Corpus, Dice};

/// Tries of one mutation, so that a large module does not take hours.
const FUEL: u64 = 1_000;

/// Writes up to `count` mutations of the modules.
pub(crate) fn of_modules(
    corpus: &mut Corpus,
    dice: &mut Dice,
    count: u64,
    modules: &[Vec<u8>],
) -> io::Result<()> {
    for _ in 0..count {
        let module = &modules[dice.below(modules.len())];
        if let Some(bytes) = mutation(module, dice) {
            corpus.add("mutated-module", &bytes)?;
        }
    }
    Ok(())
}

/// Writes up to `count` plugins in which the largest core module was mutated up to
/// four times. Everything around it is as it was, so that they come far.
pub(crate) fn of_plugin(
    corpus: &mut Corpus,
    dice: &mut Dice,
    count: u64,
    plugin: &[u8],
) -> io::Result<()> {
    let Some(range) = largest_module(plugin) else {
        eprintln!("a plugin has no core module and is left out");
        return Ok(());
    };
    for _ in 0..count {
        let mut module = plugin[range.clone()].to_vec();
        for _ in 0..=dice.below(4) {
            module = mutation(&module, dice).unwrap_or(module);
        }
        if let Some(bytes) = with_module(plugin, &range, &module) {
            corpus.add("mutated-plugin", &bytes)?;
        }
    }
    Ok(())
}

fn mutation(module: &[u8], dice: &mut Dice) -> Option<Vec<u8>> {
    let mut mutate = WasmMutate::default();
    mutate.seed(dice.next()).fuel(FUEL);
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

/// The component with another module in the place of that one; `None` where the
/// module's length is not written in the shortest way.
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
