//! What a plugin says about itself: the JSON of `describe`, and the same
//! without argument schemas in the file's `pgtq.handlers` section.

use super::{LimitRequest, Name, Needs, RetryPolicy};

/// The whole of what `describe` returns. Unknown fields are ignored, so that a
/// newer SDK can say more to a newer runner.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Manifest {
    /// The contract version the file was built against, e.g. `1.0.0`.
    pub contract: String,
    /// The plugin's own name and version.
    pub plugin: PluginInfo,
    /// Its handlers, at most 1,000.
    pub handlers: Vec<HandlerInfo>,
}

/// Who made the file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PluginInfo {
    /// The crate's name.
    pub name: String,
    /// The crate's version.
    pub version: String,
}

/// One handler as its plugin describes it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HandlerInfo {
    /// What tasks call it.
    pub name: Name,
    /// The first paragraph of its doc comment.
    #[serde(default)]
    pub description: String,
    /// The rest of its doc comment.
    #[serde(default)]
    pub docs: String,
    /// JSON schema of the arguments object; absent in the file's section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<serde_json::Value>,
    /// Parameter names in order, for positional arguments.
    #[serde(default)]
    pub positional: Vec<String>,
    /// Limits it asks for.
    #[serde(default)]
    pub limits: LimitRequest,
    /// Its retry policy.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// Capabilities it asks for.
    #[serde(default, skip_serializing_if = "Needs::is_empty")]
    pub needs: Needs,
    /// What a push to it has unless the push says otherwise.
    #[serde(default, skip_serializing_if = "PushDefaults::is_empty")]
    pub push: PushDefaults,
}

/// Queue and priority that a handler declares for pushes to itself:
/// `#[handler(queue = "mail", priority = 10)]`. They count for pushes by its own plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct PushDefaults {
    /// `None` is the queue `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Name>,
    /// Lower runs earlier.
    pub priority: i32,
}

impl PushDefaults {
    /// Whether it declares nothing, as most handlers do.
    pub fn is_empty(&self) -> bool {
        *self == PushDefaults::default()
    }

    /// The queue of a push that names none.
    pub fn queue(&self) -> &str {
        self.queue.as_ref().map_or("default", Name::as_str)
    }

    /// Whether a push needs no grant if it is made by the handler's own plugin: the
    /// declared queue, and no priority more urgent than the declared one, or than 0.
    pub fn are_free(&self, queue: &str, priority: i32) -> bool {
        self.queue() == queue && priority >= self.priority.max(0)
    }
}
