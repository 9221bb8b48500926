//! Just enough of the Postgres protocol to ask a private server whether it is
//! ready and to run one statement.
//!
//! Blocking and on std alone, so that starting a server needs neither `psql` nor
//! an async runtime. Trust authentication only: the socket's directory is the
//! door.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The file name of a server's socket in its directory.
pub(super) const SOCKET: &str = ".s.PGSQL.5432";

/// An answer longer than this is not from a server we started.
const LONGEST_MESSAGE: usize = 1 << 20;

/// An error that the server answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// SQLSTATE, five characters.
    pub(super) code: String,
    /// The server's message.
    pub(super) message: String,
}

/// Why a statement was not run.
#[derive(Debug)]
pub(super) enum WireError {
    /// No connection, or it broke.
    Io(io::Error),
    /// The server said no.
    Refused(Refusal),
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        WireError::Io(error)
    }
}

/// A connection as the user `pgtq`.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
}

impl Connection {
    /// Connects to `database` of the server whose socket is in `dir`.
    ///
    /// Fails at once while the server is not accepting connections. No answer
    /// within `patience` is an error too.
    pub(super) fn open(dir: &Path, database: &str, patience: Duration) -> Result<Self, WireError> {
        let stream = UnixStream::connect(dir.join(SOCKET))?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let mut connection = Connection { stream };
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for text in ["user", "pgtq", "database", database] {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        connection.send(None, &body)?;
        connection.until_ready()?;
        Ok(connection)
    }

    /// Runs one statement and drops its rows.
    pub(super) fn run(&mut self, statement: &str) -> Result<(), WireError> {
        let mut body = statement.as_bytes().to_vec();
        body.push(0);
        self.send(Some(b'Q'), &body)?;
        self.until_ready()
    }

    fn send(&mut self, kind: Option<u8>, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len() + 4).map_err(io::Error::other)?;
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(body);
        self.stream.write_all(&message)
    }

    /// Reads messages up to the one that says the server is ready for the next
    /// statement; an error on the way is the result.
    fn until_ready(&mut self) -> Result<(), WireError> {
        let mut refused = None;
        loop {
            let (kind, body) = match self.receive() {
                Ok(message) => message,
                // After a fatal error the server hangs up without "ready".
                Err(error) => return Err(refused.map_or(WireError::Io(error), WireError::Refused)),
            };
            match kind {
                b'Z' => return refused.map_or(Ok(()), |why| Err(WireError::Refused(why))),
                b'E' => refused = Some(refusal(&body)),
                _ => {}
            }
        }
    }

    fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if !(4..=LONGEST_MESSAGE).contains(&length) {
            return Err(io::Error::other("this is not a postgres server"));
        }
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body)?;
        Ok((head[0], body))
    }
}

/// Takes code and message out of an ErrorResponse: fields of one letter and a
/// text that ends in NUL.
fn refusal(body: &[u8]) -> Refusal {
    let field = |letter: u8| {
        body.split(|byte| *byte == 0)
            .find(|field| field.first() == Some(&letter))
            .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
            .unwrap_or_default()
    };
    Refusal {
        code: field(b'C'),
        message: field(b'M'),
    }
}

/// `name` as an SQL identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_has_code_and_message() {
        let body = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0";
        let expected = Refusal {
            code: "57P03".to_owned(),
            message: "the database system is starting up".to_owned(),
        };
        assert_eq!(refusal(body), expected);
    }

    #[test]
    fn quotes_in_a_name_are_doubled() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
