//! A blocking HTTP client.
//!
//! A handler declares the URLs it calls, `needs(http = "https://api.example.com")`,
//! and the operator grants them. The client does not follow redirects: it returns
//! them like other responses. Every wait ends with the attempt's timeout at the
//! latest.
//!
//! ```
//! use pgtq_sdk::prelude::*;
//!
//! #[handler(needs(http = "GET https://api.example.com/prices/"))]
//! fn price(ctx: &Ctx, item: u64) -> Result<f64> {
//!     ctx.http()
//!         .get(format!("https://api.example.com/prices/{item}"))
//!         .timeout(secs(5))
//!         .send()?
//!         .error_for_status()?
//!         .json()
//! }
//!
//! let ctx = Ctx::test().on_http("GET", "https://api.example.com/prices/7", |_| {
//!     Ok(pgtq_sdk::Reply::json(9.5))
//! });
//! assert_eq!(ctx.run("price", [7]), Ok(json!(9.5)));
//! ```

mod request;
mod response;
pub(crate) mod url;

pub use request::Request;
pub use response::Response;

use crate::host::Host;

/// Makes requests. Returned by [`Ctx::http`](crate::Ctx::http).
#[derive(Debug, Clone)]
pub struct Client {
    host: Host,
}

impl Client {
    pub(crate) fn new(host: Host) -> Self {
        Client { host }
    }

    /// A request with any method. The method is sent in upper case.
    pub fn request(&self, method: &str, url: impl Into<String>) -> Request {
        Request::new(self.host.clone(), method, url.into())
    }

    /// A `GET` request.
    pub fn get(&self, url: impl Into<String>) -> Request {
        self.request("GET", url)
    }

    /// A `HEAD` request.
    pub fn head(&self, url: impl Into<String>) -> Request {
        self.request("HEAD", url)
    }

    /// A `POST` request.
    pub fn post(&self, url: impl Into<String>) -> Request {
        self.request("POST", url)
    }

    /// A `PUT` request.
    pub fn put(&self, url: impl Into<String>) -> Request {
        self.request("PUT", url)
    }

    /// A `PATCH` request.
    pub fn patch(&self, url: impl Into<String>) -> Request {
        self.request("PATCH", url)
    }

    /// A `DELETE` request.
    pub fn delete(&self, url: impl Into<String>) -> Request {
        self.request("DELETE", url)
    }
}
