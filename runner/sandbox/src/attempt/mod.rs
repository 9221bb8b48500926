//! What the host keeps of one attempt while its guest runs: the store's data, its memory
//! account, its log, what it may reach, and what each host call costs.
//!
//! Names no capability: a capability's own context is stored here by its type, see
//! [`state::CapabilityContext`].

pub(crate) mod access;
pub(crate) mod account;
mod contexts;
pub(crate) mod denied;
pub(crate) mod granted;
pub(crate) mod host_call;
pub(crate) mod limiter;
pub(crate) mod logs;
pub(crate) mod machine;
pub(crate) mod redact;
pub(crate) mod services;
pub(crate) mod state;
pub(crate) mod stop;
pub(crate) mod store;
