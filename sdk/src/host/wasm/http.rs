//! `wasi:http`, one blocking call at a time. Nothing of it is in a plugin that
//! makes no request: the linker drops the imports with the code.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme, http_error_code,
};
use wasip2::io::streams::{InputStream, StreamError};

use super::super::{Incoming, Outgoing};
use super::Host;
use crate::error::{Error, Result};

/// Bytes of one write: what `blocking-write-and-flush` takes.
const WRITE_BYTES: usize = 4096;

impl Host {
    /// Sends a request and waits for the head of the answer.
    pub(crate) fn send(&self, outgoing: &Outgoing) -> Result<Incoming> {
        let request = request(outgoing)?;
        let body = request.body().map_err(|()| refused("body is"))?;
        let pending = outgoing_handler::handle(request, options(outgoing)?).map_err(error)?;
        // A server may answer, or go away, before it has read everything: what
        // happened then is said by the answer, not by the write.
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
    let headers = Fields::from_list(&headers).map_err(|_| refused("headers are"))?;
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
        .map_err(|()| refused("method is"))?;
    request
        .set_scheme(Some(&scheme))
        .map_err(|()| refused("scheme is"))?;
    request
        .set_authority(Some(&outgoing.url.authority))
        .map_err(|()| refused("host is"))?;
    request
        .set_path_with_query(Some(&outgoing.url.path_and_query))
        .map_err(|()| refused("path is"))?;
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
        .map_err(|()| refused("timeout is"))?;
    Ok(Some(options))
}

/// Whether all of it went out.
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

/// The body of an answer, read piece by piece. Dropped in this order: each is
/// a child of the one below.
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

    /// The next bytes, at most `most`; none at the end.
    pub(crate) fn read(&mut self, most: u64) -> Result<Vec<u8>> {
        loop {
            match self.stream.blocking_read(most) {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Ok(bytes),
                Err(StreamError::Closed) => return Ok(Vec::new()),
                Err(StreamError::LastOperationFailed(fault)) => {
                    return Err(match http_error_code(&fault) {
                        Some(code) => error(code),
                        // Its first line; what follows is a trace of the runner.
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

fn refused(part: &str) -> Error {
    Error::from_host("invalid", format!("the request's {part} refused"))
}

fn lost() -> Error {
    Error::from_host("unavailable", "the answer was lost on its way")
}

/// In words, with the code of the contract's problems.
fn error(code: ErrorCode) -> Error {
    use ErrorCode as E;
    let (word, text) = match code {
        E::InternalError(Some(text)) => return Error::from_host("unavailable", text),
        E::DnsError(fault) => {
            let reason = fault.rcode.unwrap_or_default();
            let message = format!("the host's name has no address: {reason}");
            return Error::from_host("unavailable", message);
        }
        E::HttpRequestDenied => (
            "denied",
            "denied: the attempt's log says what to write where",
        ),
        E::DestinationIpProhibited => (
            "denied",
            "denied: the host's address is not a public one; the attempt's log says more",
        ),
        E::DnsTimeout => ("timeout", "the host's name was not resolved in time"),
        E::ConnectionTimeout => ("timeout", "the host did not accept a connection in time"),
        E::ConnectionReadTimeout | E::HttpResponseTimeout => ("timeout", "no answer came in time"),
        E::ConnectionWriteTimeout => ("timeout", "the request was not taken in time"),
        E::DestinationNotFound => ("unavailable", "the host's name has no address"),
        E::DestinationUnavailable | E::DestinationIpUnroutable | E::ConnectionRefused => {
            ("unavailable", "the host accepts no connection")
        }
        E::ConnectionTerminated | E::HttpResponseIncomplete => {
            ("unavailable", "the connection broke off")
        }
        E::TlsCertificateError => ("unavailable", "the host's certificate is not trusted"),
        E::TlsProtocolError | E::TlsAlertReceived(_) => ("unavailable", "TLS was not agreed on"),
        E::ConnectionLimitReached => (
            "limit",
            "too many requests or connections; the attempt's log says more",
        ),
        E::HttpRequestBodySize(_) => ("limit", "the request's body is larger than the limit"),
        E::HttpRequestHeaderSectionSize(_) | E::HttpRequestHeaderSize(_) => {
            ("limit", "the request's headers are too large")
        }
        E::HttpResponseBodySize(_) => ("limit", "the answer's body is larger than the limit"),
        E::HttpResponseHeaderSectionSize(_) | E::HttpResponseHeaderSize(_) => {
            ("limit", "the answer's headers are too large")
        }
        E::HttpRequestMethodInvalid => ("invalid", "the method is refused"),
        E::HttpRequestUriInvalid | E::HttpRequestUriTooLong => ("invalid", "the URL is refused"),
        E::HttpResponseContentCoding(_) | E::HttpResponseTransferCoding(_) => {
            ("unavailable", "the answer is coded in an unknown way")
        }
        E::HttpProtocolError => ("unavailable", "the server does not speak HTTP"),
        E::LoopDetected => ("unavailable", "the request went round in circles"),
        E::ConfigurationError => (
            "unavailable",
            "the runner cannot send it; the attempt's log says more",
        ),
        // Not by name: the names of all of them are 2 KB of a plugin.
        _ => ("unavailable", "the request failed"),
    };
    Error::from_host(word, text)
}
