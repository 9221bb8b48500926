//! An HTTP server on loopback, for requests of plugins.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The maximum size of a request, with its head.
const REQUEST_BYTES: u64 = 8 << 20;

/// The read timeout.
const PATIENCE: Duration = Duration::from_secs(20);

/// A received request.
#[derive(Debug, Clone, Default)]
pub struct HttpRequest {
    /// The method, in upper case.
    pub method: String,
    /// The path, with the query.
    pub path: String,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpRequest {
    /// The first header with this name, in lower case; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A response: status, headers, body.
pub type HttpResponse = (u16, Vec<(&'static str, String)>, Vec<u8>);

/// A server that handles one connection at a time, with one request each. Dropping it
/// stops it.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<HttpRequest>>>,
    stopped: Arc<AtomicBool>,
}

impl HttpServer {
    /// Starts a server with the handler `respond`. Requests are recorded before the
    /// handler is called.
    pub fn start(respond: impl FnMut(&HttpRequest) -> HttpResponse + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("the socket is bound");
        let server = HttpServer {
            address,
            requests: Arc::default(),
            stopped: Arc::default(),
        };
        let (requests, stopped) = (Arc::clone(&server.requests), Arc::clone(&server.stopped));
        let mut respond = respond;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // A client may disconnect.
                let _ = serve(&stream, &requests, &mut respond);
            }
        });
        server
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:PORT` and `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests received so far, in order.
    pub fn requests(&self) -> Vec<HttpRequest> {
        let requests = self.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread, which waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    stream: &TcpStream,
    requests: &Mutex<Vec<HttpRequest>>,
    respond: &mut impl FnMut(&HttpRequest) -> HttpResponse,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = read(&mut BufReader::new(stream.take(REQUEST_BYTES)))?;
    let mut seen = requests.lock().unwrap_or_else(PoisonError::into_inner);
    seen.push(request.clone());
    drop(seen);
    let (status, headers, body) = respond(&request);
    let mut head = format!(
        "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}

fn read(from: &mut impl BufRead) -> std::io::Result<HttpRequest> {
    let mut request = HttpRequest::default();
    let first = line(from)?;
    let mut words = first.split(' ');
    words.next().unwrap_or("").clone_into(&mut request.method);
    words.next().unwrap_or("").clone_into(&mut request.path);
    loop {
        let header = line(from)?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        let header = (name.to_ascii_lowercase(), value.trim().to_owned());
        request.headers.push(header);
    }
    let mut more = |length: u64, body: &mut Vec<u8>| from.take(length).read_to_end(body);
    if let Ok(length) = request.header("content-length").parse() {
        more(length, &mut request.body)?;
    } else if request.header("transfer-encoding") == "chunked" {
        loop {
            let length = u64::from_str_radix(line(from)?.trim(), 16).unwrap_or(0);
            from.take(length).read_to_end(&mut request.body)?;
            line(from)?;
            if length == 0 {
                break;
            }
        }
    }
    Ok(request)
}

fn line(from: &mut impl BufRead) -> std::io::Result<String> {
    let mut text = String::new();
    from.read_line(&mut text)?;
    Ok(text.trim_end().to_owned())
}
