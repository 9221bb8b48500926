//! The formats of a plugin file.

/// The two formats of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileForm {
    /// A component, used unchanged.
    Component,
    /// A core module with the SDK's metadata, wrapped at load.
    CoreModule,
}
