//! The module as a whole, on real directories.

mod component;
mod directory;
mod install;
mod limits;
mod real;
pub(super) mod support;
