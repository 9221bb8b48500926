//! Golden cases of plugins: one call each, in the real sandbox, with everything
//! outside of it written down in the case.
//!
//! Owns the form of a case file ([`case`]), the answers in place of the network
//! and the database ([`fakes`]), one run ([`run`]), what is expected of it
//! ([`check`]), and writing down what happened ([`update`]). Promises that a
//! case reaches nothing outside: no network, no database, no file but its own.
//! Does not build plugins, and prints nothing.

pub(crate) mod case;
pub(crate) mod check;
mod equal;
mod fakes;
mod files;
mod observed;
pub(crate) mod run;
pub(crate) mod update;

#[cfg(test)]
mod tests;
