//! An SMTP server on loopback, for the mail plugin.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The maximum size of a session.
const SESSION_BYTES: u64 = 8 << 20;

/// The read timeout.
const PATIENCE: Duration = Duration::from_secs(20);

/// An accepted mail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mail {
    /// The envelope sender.
    pub from: String,
    /// The envelope recipients.
    pub to: Vec<String>,
    /// The message, with dots unstuffed and lines ending with CRLF.
    pub message: String,
}

/// The record of a server.
#[derive(Debug, Default)]
struct Record {
    commands: Vec<String>,
    mails: Vec<Mail>,
}

/// A server that handles one client at a time. Dropping it stops it.
#[derive(Debug)]
pub struct SmtpServer {
    address: SocketAddr,
    record: Arc<Mutex<Record>>,
    stopped: Arc<AtomicBool>,
}

impl SmtpServer {
    /// Starts a server that accepts every command, except if `reject` returns another
    /// reply. The command at the end of a mail is `.`; the mail is recorded before
    /// `reject` is called.
    pub fn start(reject: impl FnMut(&str) -> Option<&'static str> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let server = SmtpServer {
            address: listener.local_addr().expect("the socket is bound"),
            record: Arc::default(),
            stopped: Arc::default(),
        };
        let (record, stopped) = (Arc::clone(&server.record), Arc::clone(&server.stopped));
        let mut reject = reject;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // A client may disconnect.
                let _ = serve(&stream, &record, &mut reject);
            }
        });
        server
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The mails accepted so far.
    pub fn mails(&self) -> Vec<Mail> {
        self.read(|record| record.mails.clone())
    }

    /// The commands received so far, without the mails.
    pub fn commands(&self) -> Vec<String> {
        self.read(|record| record.commands.clone())
    }

    fn read<T>(&self, read: impl FnOnce(&Record) -> T) -> T {
        read(&self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread, which waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    mut stream: &TcpStream,
    record: &Mutex<Record>,
    reject: &mut impl FnMut(&str) -> Option<&'static str>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.take(SESSION_BYTES));
    let mut mail = Mail::default();
    let record = || record.lock().unwrap_or_else(PoisonError::into_inner);
    stream.write_all(b"220 mx.example ESMTP\r\n")?;
    loop {
        let mut command = String::new();
        if lines.read_line(&mut command)? == 0 {
            return Ok(());
        }
        let command = command.trim_end();
        record().commands.push(command.to_owned());
        let address = |command: &str| {
            let inside = command.split(['<', '>']).nth(1);
            inside.unwrap_or("").to_owned()
        };
        let verb = command.split([' ', ':']).next().unwrap_or("");
        let reply = match (reject(command), verb) {
            (Some(rejection), _) => rejection,
            (None, "EHLO") => "250-mx.example\r\n250-SIZE 1000000\r\n250 AUTH PLAIN",
            (None, "AUTH") => "235 2.7.0 welcome",
            (None, "MAIL") => {
                mail.from = address(command);
                "250 2.1.0 ok"
            }
            (None, "RCPT") => {
                mail.to.push(address(command));
                "250 2.1.5 ok"
            }
            (None, "DATA") => {
                stream.write_all(b"354 go on\r\n")?;
                mail.message = message(&mut lines)?;
                record().mails.push(std::mem::take(&mut mail));
                reject(".").unwrap_or("250 2.0.0 queued as 4F2A")
            }
            (None, "QUIT") => {
                stream.write_all(b"221 2.0.0 bye\r\n")?;
                return Ok(());
            }
            (None, _) => "502 5.5.1 what?",
        };
        stream.write_all(format!("{reply}\r\n").as_bytes())?;
    }
}

/// Reads the message, up to the line with a single dot.
fn message(lines: &mut impl BufRead) -> std::io::Result<String> {
    let mut message = String::new();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 || line == ".\r\n" {
            return Ok(message);
        }
        message.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}
