//! Installs a file into the plugin directory, or restores one, in one step.
//!
//! Guarantees: runners see either the whole old file or the whole new one in the
//! directory, never a part; the version that a deployment replaced can be restored; after
//! any error the installed file is unchanged. Versions are kept inside the plugin
//! directory, on the same disk and where the watcher ignores them:
//!
//! ```text
//! plugins/hello.wasm                          what serves
//! plugins/.previous/hello/3-<digest>.wasm     what served before, newest highest
//! ```
//!
//! Does not wait until runners have loaded the file.

mod deploy;
mod error;
mod kept;
mod place;

pub use deploy::{GrantLines, InstallAs, Installed, install, install_name, rollback};
pub use error::InstallError;
pub use kept::{KEEP, KeptVersion, versions};
