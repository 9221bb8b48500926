//! Looks at a plugin file without running or compiling it.

use super::LoadError;
use crate::task::HandlerInfo;

/// The version of the contract that this runner speaks.
pub const CONTRACT: &str = "1.0.0";

/// The two forms in which a plugin may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileForm {
    /// A component, used as it is.
    Component,
    /// A core module with the SDK's metadata, wrapped at load.
    CoreModule,
}

/// What a file says about itself.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Inspection {
    /// Component or core module.
    pub form: FileForm,
    /// The contract version it was built against.
    pub contract: String,
    /// The interfaces it imports, by full name, sorted.
    pub imports: Vec<String>,
    /// Its handlers, in file order, without argument schemas.
    pub handlers: Vec<HandlerInfo>,
    /// The tools that made it: field, tool, version.
    pub producers: Vec<(String, String, String)>,
    /// Size of the file, bytes.
    pub bytes: u64,
}

/// Reads what the file says about itself; nothing in it is executed. Safe on
/// any bytes: bounded time and memory, no panic.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, LoadError> {
    let _ = bytes;
    todo!()
}
