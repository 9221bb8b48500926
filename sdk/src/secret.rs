//! Secrets: values that the operator configures.

use std::fmt;

use crate::error::Result;
use crate::host::Host;

/// A secret, by name. Returned by [`Ctx::secret`](crate::Ctx::secret).
///
/// `Display` prints a placeholder. In a header of an HTTP request the runner
/// replaces the placeholder by the value, for the hosts that the operator lists;
/// the plugin never sees the value. A placeholder in a log or a body reveals
/// nothing.
///
/// ```
/// use pgtq_sdk::prelude::*;
///
/// #[handler(needs(http = "https://api.stripe.com", secret = "stripe"))]
/// fn balance(ctx: &Ctx) -> Result<Value> {
///     ctx.http()
///         .get("https://api.stripe.com/v1/balance")
///         .bearer(ctx.secret("stripe"))
///         .send()?
///         .error_for_status()?
///         .json()
/// }
/// ```
#[derive(Clone)]
pub struct Secret {
    host: Host,
    name: String,
}

impl Secret {
    pub(crate) fn new(host: Host, name: String) -> Self {
        Secret { host, name }
    }

    /// The placeholder `{{secret:NAME}}`, which the runner replaces by the value in
    /// headers of requests.
    pub fn placeholder(&self) -> String {
        format!("{{{{secret:{}}}}}", self.name)
    }

    /// The value itself, for example to compute a signature.
    ///
    /// # Errors
    /// Code `denied` if the handler does not declare `needs(secret = "...")` or the
    /// operator does not grant reading it; `unavailable` if no value is configured.
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
