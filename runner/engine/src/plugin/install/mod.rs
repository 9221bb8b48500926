//! Puts a file into the plugin directory, or back, in one step.
//!
//! Promises: what runners see in the directory is a whole old file or a whole
//! new one, never a part; what a deployment replaced can be put back; on any
//! error the installed file is as it was. Versions are kept inside the plugin
//! directory, where the disk is the same and the watcher does not look:
//!
//! ```text
//! plugins/hello.wasm                          what serves
//! plugins/.previous/hello/3-<digest>.wasm     what served before, newest highest
//! ```
//!
//! Does not wait for runners to take the file up.

mod deploy;
mod error;
mod kept;
mod place;

pub use deploy::{GrantLines, InstallAs, Installed, install, install_name, rollback};
pub use error::InstallError;
pub use kept::{KEEP, KeptVersion, versions};
