//! Requests and responses as they pass between wasi:http and the client.

use http_body_util::combinators::UnsyncBoxBody;
use wasmtime_wasi_http::Error;

pub(super) type Body = UnsyncBoxBody<bytes::Bytes, Error>;
/// Drives a connection while its response is read.
pub(super) type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
pub(super) type Sent = Result<(http::Response<Body>, Io), Error>;
