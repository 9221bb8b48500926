//! From compiled code to finished attempts: links it, makes handlers of it, and runs each
//! attempt in its own instance.

pub(crate) mod attempt;
mod copies;
pub(crate) mod failure;
mod handler;
pub(crate) mod linker;
pub(crate) mod load;
pub(crate) mod phases;
