//! Reads a page of a runner's HTTP server.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// The whole response to a GET: status line, headers and body.
///
/// # Errors
///
/// If the connection fails.
pub fn http_page(address: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    Ok(page)
}
