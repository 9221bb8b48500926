//! A plugin's description of itself: the JSON of `describe`, and the same without argument
//! schemas in the file's `pgtq.handlers` section.

use crate::limits::LimitRequest;
use crate::name::Name;
use crate::needs::Needs;
use crate::push::PushDefaults;
use crate::retry::RetryPolicy;

/// The result of `describe`. Unknown fields are ignored, so that a newer SDK can send more to a
/// newer runner. `Schema` is a JSON value of the library that reads it.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Manifest<Schema> {
    /// The contract version the file was built against, e.g. `1.0.0`.
    pub contract: String,
    /// The plugin's own name and version.
    pub plugin: PluginInfo,
    /// Its handlers, at most 1,000.
    pub handlers: Vec<HandlerInfo<Schema>>,
}

/// The plugin's crate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PluginInfo {
    /// The crate's name.
    pub name: String,
    /// The crate's version.
    pub version: String,
}

/// One handler as its plugin describes it.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct HandlerInfo<Schema> {
    /// The name that tasks use.
    pub name: Name,
    /// The first paragraph of its doc comment.
    #[cfg_attr(feature = "serde", serde(default))]
    pub description: String,
    /// The rest of its doc comment.
    #[cfg_attr(feature = "serde", serde(default))]
    pub docs: String,
    /// JSON schema of the arguments object; absent in the file's section.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub arguments: Option<Schema>,
    /// Parameter names in order, for positional arguments.
    #[cfg_attr(feature = "serde", serde(default))]
    pub positional: Vec<String>,
    /// Limits it requests.
    #[cfg_attr(feature = "serde", serde(default))]
    pub limits: LimitRequest,
    /// Its retry policy.
    #[cfg_attr(feature = "serde", serde(default))]
    pub retry: RetryPolicy,
    /// Capabilities it requests.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Needs::is_empty")
    )]
    pub needs: Needs,
    /// Defaults of a push to it.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "PushDefaults::is_empty")
    )]
    pub push: PushDefaults,
}
