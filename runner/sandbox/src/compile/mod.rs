//! From the bytes of a plugin file to compiled code: inspects, validates and compiles it,
//! in a child process with few privileges, and keeps the result in a cache.

pub(crate) mod cache;
pub(crate) mod child;
pub(crate) mod compiler;
mod confine;
pub(crate) mod inspect;
mod walk;
mod weight;
