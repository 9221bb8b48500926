//! Limits that a handler requests.

/// Limits that a handler requests in its manifest; unset means the operator's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct LimitRequest {
    /// Fuel per attempt.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub fuel: Option<u64>,
    /// Wall-clock milliseconds per attempt.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub timeout_ms: Option<u64>,
    /// Bytes of linear memory.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub memory: Option<u64>,
}

impl LimitRequest {
    /// Whether nothing is requested.
    pub fn is_empty(&self) -> bool {
        *self == LimitRequest::default()
    }

    /// The larger of the two, field by field.
    #[must_use]
    pub fn max(&self, other: &LimitRequest) -> LimitRequest {
        LimitRequest {
            fuel: self.fuel.max(other.fuel),
            timeout_ms: self.timeout_ms.max(other.timeout_ms),
            memory: self.memory.max(other.memory),
        }
    }
}
