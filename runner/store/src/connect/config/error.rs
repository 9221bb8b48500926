//! Why a text is not a database URL.

/// Why a text is not a valid database configuration. Never contains the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read the database address: {message}")]
pub struct UrlError {
    /// What is wrong with it.
    pub message: String,
}

pub(crate) fn wrong(message: impl Into<String>) -> UrlError {
    UrlError {
        message: message.into(),
    }
}
