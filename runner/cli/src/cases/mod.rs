//! Golden cases of plugins: one call each, in the sandbox, with all external responses
//! recorded in the case.
//!
//! Owns the format of a case file ([`case`]), the replacements for the network and the
//! database ([`fakes`]), a run ([`run`]), the comparison with the expected outcome
//! ([`check`]), and the update of a case ([`update`]). Guarantees that a case accesses no
//! network, no database and no files other than its own. Does not build plugins and prints
//! nothing.

pub(crate) mod case;
pub(crate) mod check;
mod fakes;
mod files;
mod observed;
pub(crate) mod run;
pub(crate) mod update;

#[cfg(test)]
mod tests;
