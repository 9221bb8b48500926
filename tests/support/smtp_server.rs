//! An SMTP server on loopback: what a mail plugin sends really arrives somewhere.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Longest conversation.
const SESSION_BYTES: u64 = 8 << 20;

/// Longest wait for a client.
const PATIENCE: Duration = Duration::from_secs(20);

/// A mail that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mail {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's receivers.
    pub to: Vec<String>,
    /// The message with the doubled dots undone; lines end with CRLF.
    pub message: String,
}

/// What a server has heard.
#[derive(Debug, Default)]
struct Heard {
    commands: Vec<String>,
    mails: Vec<Mail>,
}

/// A server that talks to one client after the other. It ends when it is dropped.
#[derive(Debug)]
pub struct SmtpServer {
    address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    ends: Arc<AtomicBool>,
}

impl SmtpServer {
    /// Starts one that takes everything, but for commands to which `refuse` has
    /// another reply. The command at the end of a mail is `.`; the mail is taken
    /// by then, whatever is replied.
    pub fn start(refuse: impl FnMut(&str) -> Option<&'static str> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let server = SmtpServer {
            address: listener.local_addr().expect("it is bound"),
            heard: Arc::default(),
            ends: Arc::default(),
        };
        let (heard, ends) = (Arc::clone(&server.heard), Arc::clone(&server.ends));
        let mut refuse = refuse;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                // A client that breaks off is the client's business.
                let _ = talk(&stream, &heard, &mut refuse);
            }
        });
        server
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The mails taken so far.
    pub fn mails(&self) -> Vec<Mail> {
        self.heard(|heard| heard.mails.clone())
    }

    /// The commands heard so far, without the mails.
    pub fn commands(&self) -> Vec<String> {
        self.heard(|heard| heard.commands.clone())
    }

    fn heard<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // It waits for a connection: this one.
        let _ = TcpStream::connect(self.address);
    }
}

fn talk(
    mut stream: &TcpStream,
    heard: &Mutex<Heard>,
    refuse: &mut impl FnMut(&str) -> Option<&'static str>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.take(SESSION_BYTES));
    let mut mail = Mail::default();
    let heard = || heard.lock().unwrap_or_else(PoisonError::into_inner);
    stream.write_all(b"220 mx.example ESMTP\r\n")?;
    loop {
        let mut command = String::new();
        if lines.read_line(&mut command)? == 0 {
            return Ok(());
        }
        let command = command.trim_end();
        heard().commands.push(command.to_owned());
        let address = |command: &str| {
            let inside = command.split(['<', '>']).nth(1);
            inside.unwrap_or("").to_owned()
        };
        let verb = command.split([' ', ':']).next().unwrap_or("");
        let reply = match (refuse(command), verb) {
            (Some(refusal), _) => refusal,
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
                heard().mails.push(std::mem::take(&mut mail));
                refuse(".").unwrap_or("250 2.0.0 queued as 4F2A")
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

/// Everything up to the line of one dot.
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
