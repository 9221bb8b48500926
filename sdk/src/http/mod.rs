//! Requests to servers, one at a time and without async.
//!
//! A handler asks for what it calls, `needs(http = "https://api.example.com")`,
//! and the operator grants it. Redirects are not followed: they are answers
//! like any other. No wait outlasts the attempt's own deadline.

mod request;
mod response;
pub(crate) mod url;

pub use request::Request;
pub use response::Response;

use crate::host::Host;

/// Makes requests: `ctx.http()`.
#[derive(Debug, Clone)]
pub struct Client {
    host: Host,
}

impl Client {
    pub(crate) fn new(host: Host) -> Self {
        Client { host }
    }

    /// A request of any method.
    pub fn request(&self, method: &str, url: impl Into<String>) -> Request {
        Request::new(self.host.clone(), method, url.into())
    }

    /// A request for what is there.
    pub fn get(&self, url: impl Into<String>) -> Request {
        self.request("GET", url)
    }

    /// A request for the headers of what is there.
    pub fn head(&self, url: impl Into<String>) -> Request {
        self.request("HEAD", url)
    }

    /// A request that brings something new.
    pub fn post(&self, url: impl Into<String>) -> Request {
        self.request("POST", url)
    }

    /// A request that replaces what is there.
    pub fn put(&self, url: impl Into<String>) -> Request {
        self.request("PUT", url)
    }

    /// A request that changes what is there.
    pub fn patch(&self, url: impl Into<String>) -> Request {
        self.request("PATCH", url)
    }

    /// A request that removes what is there.
    pub fn delete(&self, url: impl Into<String>) -> Request {
        self.request("DELETE", url)
    }
}
