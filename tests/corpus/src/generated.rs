//! Modules and components made up by wasm-smith, within and beyond what is valid.

use std::io;

use arbitrary::Unstructured;
use wasm_smith::{Component, Config, Module};

use crate::{Corpus, Dice};

/// The most random bytes that an item is made of.
const MAX_SEED: usize = 8 << 10;

/// Writes up to `count` of each kind; the valid modules are returned.
pub(crate) fn write(corpus: &mut Corpus, dice: &mut Dice, count: u64) -> io::Result<Vec<Vec<u8>>> {
    let mut valid = Vec::new();
    for _ in 0..count {
        let n = 64 + dice.below(MAX_SEED);
        let seed = dice.bytes(n);
        if let Ok(module) = Module::new(Config::default(), &mut Unstructured::new(&seed)) {
            let bytes = module.to_bytes();
            corpus.add("smith-valid", &bytes)?;
            valid.push(bytes);
        }
        let config = Config {
            allow_invalid_funcs: true,
            ..everything()
        };
        if let Ok(module) = Module::new(config, &mut Unstructured::new(&seed)) {
            corpus.add("smith-invalid", &module.to_bytes())?;
        }
        if let Ok(component) = Component::new(everything(), &mut Unstructured::new(&seed)) {
            corpus.add("smith-component", &component.to_bytes())?;
        }
    }
    Ok(valid)
}

/// Every proposal that wasm-smith knows: most of them are refused here.
fn everything() -> Config {
    Config {
        exceptions_enabled: true,
        gc_enabled: true,
        memory64_enabled: true,
        relaxed_simd_enabled: true,
        tail_call_enabled: true,
        threads_enabled: true,
        ..Config::default()
    }
}
