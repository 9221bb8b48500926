//! The manifest with argument schemas as JSON, as the runner reads it.

/// A plugin's description of itself.
pub type Manifest = pgtq_contract::Manifest<serde_json::Value>;

/// One handler as its plugin describes it.
pub type HandlerInfo = pgtq_contract::HandlerInfo<serde_json::Value>;
