//! Values that the operator holds.

use std::fmt;

use crate::error::Result;
use crate::host::Host;

/// One secret, by name: `ctx.secret("stripe")`.
///
/// Printed, it is a placeholder. In the header of a request the runner replaces
/// it by the value on the way out, for hosts that the operator named: the
/// plugin never sees it. So `.bearer(ctx.secret("stripe"))` works, and a
/// placeholder that ends up in a log or a body gives nothing away.
#[derive(Clone)]
pub struct Secret {
    host: Host,
    name: String,
}

impl Secret {
    pub(crate) fn new(host: Host, name: String) -> Self {
        Secret { host, name }
    }

    /// `{{secret:NAME}}`: stands for the value in headers of requests.
    pub fn placeholder(&self) -> String {
        format!("{{{{secret:{}}}}}", self.name)
    }

    /// The value itself, for a signature, say.
    ///
    /// # Errors
    /// `denied` unless the handler needs the secret and the operator lets it be
    /// read; `unavailable` if the operator has no value for it.
    pub fn read(&self) -> Result<String> {
        self.host.secret(&self.name)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.placeholder())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.name)
    }
}
