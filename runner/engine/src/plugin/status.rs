//! What users and the database see of a plugin file.

use jiff::Timestamp;

use super::version::Draining;
use pgtq_task::{Digest, Name, PluginInfo};

/// The state of a file between the directory and running tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginState {
    /// Seen for the first time.
    Discovered,
    /// Still changing; its bytes are not read yet.
    Settling,
    /// Being read and inspected; nothing is executed.
    Validating,
    /// Being compiled, or waiting for its turn.
    Compiling,
    /// Running its manifest function, under small limits.
    Probing,
    /// Its handlers run tasks.
    Live,
    /// Rejected; `reason` says why. An older version may still serve.
    Refused,
    /// The file is gone: its handlers take no new tasks.
    Retired,
}

impl PluginState {
    /// The name of the state in logs, SQL, CLI and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            PluginState::Discovered => "discovered",
            PluginState::Settling => "settling",
            PluginState::Validating => "validating",
            PluginState::Compiling => "compiling",
            PluginState::Probing => "probing",
            PluginState::Live => "live",
            PluginState::Refused => "refused",
            PluginState::Retired => "retired",
        }
    }
}

impl std::fmt::Display for PluginState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The status of one file of the plugin directory at one moment.
#[derive(Debug, Clone, serde::Serialize)]
pub struct PluginStatus {
    /// The file's name, without its directory.
    pub file: String,
    /// The state of the file.
    pub state: PluginState,
    /// The newest bytes that were read from it; not those that serve, if rejected.
    #[serde(serialize_with = "as_text")]
    pub digest: Option<Digest>,
    /// Why it was rejected, for operators.
    pub reason: Option<String>,
    /// When it entered this state, by this machine's clock.
    pub since: Timestamp,
    /// The version whose handlers run tasks now.
    #[serde(serialize_with = "as_text")]
    pub serving: Option<Digest>,
    /// Name and version that the plugin declares; of the version that serves, or served
    /// last.
    pub plugin: Option<PluginInfo>,
    /// The handlers that it serves, sorted.
    pub handlers: Vec<Name>,
    /// Older versions with running attempts.
    pub draining: Vec<Draining>,
}

impl PluginStatus {
    /// Whether the file has reached a final state, so that waiting may stop.
    pub fn is_settled(&self) -> bool {
        matches!(
            self.state,
            PluginState::Live | PluginState::Refused | PluginState::Retired
        )
    }
}

fn as_text<S: serde::Serializer>(
    digest: &Option<Digest>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match digest {
        Some(digest) => serializer.collect_str(digest),
        None => serializer.serialize_none(),
    }
}
