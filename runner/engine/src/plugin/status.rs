//! What people and the database get to see of a plugin file.

use jiff::Timestamp;

use super::version::Draining;
use pgtq_task::{Digest, Name, PluginInfo};

/// How far a file is on its way from the directory to running tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginState {
    /// Seen for the first time.
    Discovered,
    /// Still changing; its bytes are not looked at yet.
    Settling,
    /// Being read and inspected, nothing is executed.
    Validating,
    /// Being compiled, or waiting for its turn.
    Compiling,
    /// Being asked for its manifest, under small limits.
    Probing,
    /// Its handlers run tasks.
    Live,
    /// Not accepted; `reason` says why. An older version may still be serving.
    Refused,
    /// The file is gone: its handlers take no new tasks.
    Retired,
}

impl PluginState {
    /// The state as it is written in logs, SQL, CLI and JSON.
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

/// Everything about one file of the plugin directory, at one moment.
#[derive(Debug, Clone, serde::Serialize)]
pub struct PluginStatus {
    /// The file's name, without its directory.
    pub file: String,
    /// Where the file is on its way.
    pub state: PluginState,
    /// The newest bytes that were read from it; not what serves, if refused.
    #[serde(serialize_with = "as_text")]
    pub digest: Option<Digest>,
    /// Why it was refused, for people.
    pub reason: Option<String>,
    /// When it came into this state, this machine's clock.
    pub since: Timestamp,
    /// The version whose handlers run tasks now.
    #[serde(serialize_with = "as_text")]
    pub serving: Option<Digest>,
    /// Name and version that the plugin gives itself; of the version that
    /// serves, or served last.
    pub plugin: Option<PluginInfo>,
    /// The handlers that it serves, sorted.
    pub handlers: Vec<Name>,
    /// Older versions with attempts still under way.
    pub draining: Vec<Draining>,
}

impl PluginStatus {
    /// Whether a person may stop waiting: the file is not on its way any more.
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
