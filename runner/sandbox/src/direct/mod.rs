//! The direct path into an ordinary plugin: its main module without the component around
//! it.
//!
//! A component made by the usual tools has three core modules: the plugin's own, and two
//! that connect its imports to it. Most attempts need neither these two nor the
//! component's machinery, and setting all that up was half of an instance's cost. So the
//! compiler lets the component export its own module ([`expose`]), which costs no second
//! compilation, and an attempt starts in that module alone.
//!
//! The direct path supports the imports without effects outside of the attempt before its
//! end ([`imports`]). At anything else, or anything unexpected, it ends in a
//! [`Fallback`](fallback::Fallback): the attempt has had no effect yet, so it is run again from its beginning, in the
//! component, which the contract is written for. Errors of bad guests are therefore
//! detected and worded in one place only.

pub(crate) mod expose;
pub(crate) mod fallback;
mod imports;
mod memory;
pub(crate) mod module;
