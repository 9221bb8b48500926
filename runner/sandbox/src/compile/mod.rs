//! From the bytes of a plugin file to compiled code: inspects, validates and compiles it,
//! in a child process with few privileges, and keeps the result in a cache.

pub(crate) mod cache;
pub(crate) mod child;
mod confine;
pub(crate) mod file_form;
pub(crate) mod inspect;
pub(crate) mod parent;
mod walk;
mod weight;
