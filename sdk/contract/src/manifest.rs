//! A plugin's description of itself: the JSON of `describe`, and the same without argument
//! schemas in the file's `pgtq.handlers` section.

use crate::limits::LimitRequest;
use crate::name::Name;
use crate::needs::Needs;
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

/// Queue and priority that a handler declares for pushes to itself: `#[handler(queue = "mail",
/// priority = 10)]`. They apply to pushes by its own plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct PushDefaults {
    /// `None` means the queue `default`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub queue: Option<Name>,
    /// Lower values run earlier.
    pub priority: i32,
}

impl PushDefaults {
    /// Whether it declares nothing, as most handlers do.
    pub fn is_empty(&self) -> bool {
        *self == PushDefaults::default()
    }

    /// The queue of a push that does not specify one.
    pub fn queue(&self) -> &str {
        self.queue.as_ref().map_or("default", Name::as_str)
    }

    /// Whether a push by the handler's own plugin needs no grant: it goes to the declared queue,
    /// and its priority is not more urgent than the declared one, or than 0.
    pub fn are_free(&self, queue: &str, priority: i32) -> bool {
        self.queue() == queue && priority >= self.priority.max(0)
    }
}
