//! `wasi:http`, one blocking call at a time. A plugin that makes no request does
//! not contain it: the linker drops the imports with the code.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme, http_error_code,
};
use wasip2::io::streams::{InputStream, StreamError};

use crate::error::{Error, Result};
use crate::host::types::{Incoming, Outgoing};
use crate::host::wasm::Host;

/// Bytes per write: the limit of `blocking-write-and-flush`.
const WRITE_BYTES: usize = 4096;

impl Host {
    /// Sends a request and waits for the head of the response.
    pub(crate) fn send(&self, outgoing: &Outgoing) -> Result<Incoming<Body>> {
        let request = request(outgoing)?;
        let body = request.body().map_err(|()| invalid("body is"))?;
        let pending = outgoing_handler::handle(request, options(outgoing)?).map_err(error)?;
        // A server may respond or disconnect before it has read the whole body.
        // The response reports this, so a failed write is not an error.
        if write(&body, &outgoing.body) {
            let _ = OutgoingBody::finish(body, None);
        } else {
            drop(body);
        }
        let ready = pending.subscribe();
        ready.block();
        drop(ready);
        let answer = pending.get().ok_or_else(lost)?.map_err(|()| lost())?;
        let response = answer.map_err(error)?;
        let fields = response.headers();
        let headers = fields.entries().into_iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(&value).into_owned();
            (name.to_ascii_lowercase(), value)
        });
        Ok(Incoming {
            status: response.status(),
            headers: headers.collect(),
            body: Body::of(response)?,
        })
    }
}

fn request(outgoing: &Outgoing) -> Result<OutgoingRequest> {
    let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, value) in &outgoing.headers {
        headers.push((name.clone(), value.clone().into_bytes()));
    }
    let is_sent =
        !outgoing.body.is_empty() || matches!(&*outgoing.method, "POST" | "PUT" | "PATCH");
    if is_sent {
        let length = outgoing.body.len().to_string();
        headers.push(("content-length".to_owned(), length.into_bytes()));
    }
    let headers = Fields::from_list(&headers).map_err(|_| invalid("headers are"))?;
    let request = OutgoingRequest::new(headers);
    let method = match &*outgoing.method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    };
    let scheme = match outgoing.url.secure {
        true => Scheme::Https,
        false => Scheme::Http,
    };
    request
        .set_method(&method)
        .map_err(|()| invalid("method is"))?;
    request
        .set_scheme(Some(&scheme))
        .map_err(|()| invalid("scheme is"))?;
    request
        .set_authority(Some(&outgoing.url.authority))
        .map_err(|()| invalid("host is"))?;
    request
        .set_path_with_query(Some(&outgoing.url.path_and_query))
        .map_err(|()| invalid("path is"))?;
    Ok(request)
}

fn options(outgoing: &Outgoing) -> Result<Option<RequestOptions>> {
    let Some(timeout) = outgoing.timeout else {
        return Ok(None);
    };
    let nanos = Some(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
    let options = RequestOptions::new();
    options
        .set_connect_timeout(nanos)
        .and_then(|()| options.set_first_byte_timeout(nanos))
        .and_then(|()| options.set_between_bytes_timeout(nanos))
        .map_err(|()| invalid("timeout is"))?;
    Ok(Some(options))
}

/// Whether all bytes were written.
fn write(body: &OutgoingBody, bytes: &[u8]) -> bool {
    if bytes.is_empty() {
        return true;
    }
    let Ok(stream) = body.write() else {
        return false;
    };
    bytes
        .chunks(WRITE_BYTES)
        .all(|chunk| stream.blocking_write_and_flush(chunk).is_ok())
}

/// The body of a response, read in chunks. The order of the fields is the order
/// of their drops: each is a child resource of the next.
#[derive(Debug)]
pub(crate) struct Body {
    stream: InputStream,
    _body: IncomingBody,
    _response: IncomingResponse,
}

impl Body {
    fn of(response: IncomingResponse) -> Result<Self> {
        let body = response.consume().map_err(|()| lost())?;
        Ok(Body {
            stream: body.stream().map_err(|()| lost())?,
            _body: body,
            _response: response,
        })
    }

    /// The next bytes, at most `most`; empty at the end.
    pub(crate) fn read(&mut self, most: u64) -> Result<Vec<u8>> {
        loop {
            match self.stream.blocking_read(most) {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Ok(bytes),
                Err(StreamError::Closed) => return Ok(Vec::new()),
                Err(StreamError::LastOperationFailed(fault)) => {
                    return Err(match http_error_code(&fault) {
                        Some(code) => error(code),
                        // The first line; a backtrace of the runner may follow.
                        None => {
                            let text = fault.to_debug_string();
                            let line = text.lines().next().unwrap_or_default();
                            Error::from_host("unavailable", line)
                        }
                    });
                }
            }
        }
    }
}

fn invalid(part: &str) -> Error {
    Error::from_host("invalid", format!("the request's {part} not valid"))
}

fn lost() -> Error {
    Error::from_host("unavailable", "the response was lost")
}

/// The error for an HTTP error code, with a code of the contract's problems.
fn error(code: ErrorCode) -> Error {
    use ErrorCode as E;
    let (word, text) = match code {
        E::InternalError(Some(text)) => return Error::from_host("unavailable", text),
        E::DnsError(fault) => {
            let reason = fault.rcode.unwrap_or_default();
            let message = format!("the host name does not resolve: {reason}");
            return Error::from_host("unavailable", message);
        }
        E::HttpRequestDenied => (
            "denied",
            "denied: not declared or not granted; `pgtq logs ID` shows the line to add",
        ),
        E::DestinationIpProhibited => (
            "denied",
            "denied: the host's address is not public; see the attempt's log",
        ),
        E::DnsTimeout => ("timeout", "resolving the host name timed out"),
        E::ConnectionTimeout => ("timeout", "connecting timed out"),
        E::ConnectionReadTimeout | E::HttpResponseTimeout => ("timeout", "the response timed out"),
        E::ConnectionWriteTimeout => ("timeout", "sending the request timed out"),
        E::DestinationNotFound => ("unavailable", "the host name does not resolve"),
        E::DestinationUnavailable | E::DestinationIpUnroutable | E::ConnectionRefused => {
            ("unavailable", "connection refused or host unreachable")
        }
        E::ConnectionTerminated | E::HttpResponseIncomplete => (
            "unavailable",
            "the connection was closed before the response was complete",
        ),
        E::TlsCertificateError => ("unavailable", "the server's certificate is not trusted"),
        E::TlsProtocolError | E::TlsAlertReceived(_) => ("unavailable", "the TLS handshake failed"),
        E::ConnectionLimitReached => (
            "limit",
            "too many requests or connections; see the attempt's log",
        ),
        E::HttpRequestBodySize(_) => ("limit", "the request body exceeds the limit"),
        E::HttpRequestHeaderSectionSize(_) | E::HttpRequestHeaderSize(_) => {
            ("limit", "the request headers exceed the limit")
        }
        E::HttpResponseBodySize(_) => ("limit", "the response body exceeds the limit"),
        E::HttpResponseHeaderSectionSize(_) | E::HttpResponseHeaderSize(_) => {
            ("limit", "the response headers exceed the limit")
        }
        E::HttpRequestMethodInvalid => ("invalid", "the method is not valid"),
        E::HttpRequestUriInvalid | E::HttpRequestUriTooLong => ("invalid", "the URL is not valid"),
        E::HttpResponseContentCoding(_) | E::HttpResponseTransferCoding(_) => {
            ("unavailable", "the response has an unknown encoding")
        }
        E::HttpProtocolError => ("unavailable", "the response is not valid HTTP"),
        E::LoopDetected => ("unavailable", "the request is in a redirect loop"),
        E::ConfigurationError => (
            "unavailable",
            "the runner cannot send the request; see the attempt's log",
        ),
        // Other codes have no message: their names would add 2 KB to every plugin.
        _ => ("unavailable", "the request failed"),
    };
    Error::from_host(word, text)
}
