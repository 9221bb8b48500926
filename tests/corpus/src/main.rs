//! Prints a corpus of WebAssembly: the modules of the specification tests, generated modules,
//! and mutations of both and of the given plugins.
//!
//! ```text
//! pgtq-corpus SEED COUNT [PLUGIN...] > corpus
//! ```
//!
//! Each item is a line, `LABEL NAME LENGTH`, and LENGTH bytes. The name is the location in the
//! specification, or a number. The same seed gives the same items.

mod generated;
mod mutated;
mod spec;

use std::collections::HashSet;
use std::io::{self, BufWriter, Write};
use std::{env, fs};

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let mut number = |what: &str| -> u64 {
        let text = arguments.next();
        let number = text.and_then(|text| text.parse().ok());
        number.unwrap_or_else(|| panic!("{what} is a number: pgtq-corpus SEED COUNT [PLUGIN...]"))
    };
    let (seed, count) = (number("SEED"), number("COUNT"));
    let mut rng = Rng(seed);
    let mut corpus = Corpus {
        out: BufWriter::new(io::stdout().lock()),
        seen: HashSet::new(),
    };
    let mut seeds = spec::write(&mut corpus)?;
    seeds.extend(generated::write(&mut corpus, &mut rng, count)?);
    mutated::of_modules(&mut corpus, &mut rng, count, &seeds)?;
    for plugin in arguments {
        mutated::of_plugin(&mut corpus, &mut rng, count, &fs::read(plugin)?)?;
    }
    corpus.out.flush()
}

/// Writes items, without duplicates.
struct Corpus {
    out: BufWriter<io::StdoutLock<'static>>,
    seen: HashSet<Vec<u8>>,
}

impl Corpus {
    fn add(&mut self, label: &str, bytes: &[u8]) -> io::Result<()> {
        self.add_named(label, &self.seen.len().to_string(), bytes)
    }

    fn add_named(&mut self, label: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        if !self.seen.insert(bytes.to_vec()) {
            return Ok(());
        }
        writeln!(self.out, "{label} {name} {}", bytes.len())?;
        self.out.write_all(bytes)
    }
}

/// A deterministic random number generator (splitmix64).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        let words = (0..n.div_ceil(8)).map(|_| self.next().to_le_bytes());
        words.flatten().collect()
    }
}
