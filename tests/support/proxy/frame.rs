//! The part of the Postgres protocol that the proxy needs.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The maximum size of a message.
const MAX_BYTES: usize = 256 << 20;

/// The codes of the first message of a connection.
const STARTUP: u32 = 196_608;
const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// One message, with its tag and length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) tag: u8,
    pub(super) bytes: Vec<u8>,
}

/// The first message of a connection: it has no tag.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum First {
    /// A startup message.
    Startup { user: String, bytes: Vec<u8> },
    /// A cancel request for another connection.
    Cancel(Vec<u8>),
    /// A request for encryption; the response is one letter.
    Encrypt,
}

impl Frame {
    /// The next message; `None` at the end of the connection.
    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
        let mut tag = [0];
        if from.read(&mut tag).await? == 0 {
            return Ok(None);
        }
        let mut bytes = tag.to_vec();
        read_counted(from, &mut bytes).await?;
        Ok(Some(Frame { tag: tag[0], bytes }))
    }

    /// A message with this tag and body.
    pub(super) fn of(tag: u8, body: &[u8]) -> Frame {
        let length = u32::try_from(body.len() + 4).expect("below the limit");
        let mut bytes = vec![tag];
        bytes.extend(length.to_be_bytes());
        bytes.extend(body);
        Frame { tag, bytes }
    }

    /// The part after tag and length.
    pub(super) fn body(&self) -> &[u8] {
        &self.bytes[5..]
    }

    /// Whether the server responds with `ReadyForQuery`.
    pub(super) fn ends_a_request(&self) -> bool {
        matches!(self.tag, b'S' | b'Q')
    }

    /// Replaces `from` by `to` in the statement of the message, if it has one.
    pub(super) fn rewritten(self, from: &str, to: &str) -> Frame {
        let mut words = Words(self.body());
        let name = match self.tag {
            b'Q' => Vec::new(),
            b'P' => [words.next(), b"\0"].concat(),
            _ => return self,
        };
        let text = String::from_utf8_lossy(words.next()).into_owned();
        if !text.contains(from) {
            return self;
        }
        let text = text.replace(from, to);
        Frame::of(self.tag, &[&name, text.as_bytes(), b"\0", words.0].concat())
    }
}

impl First {
    /// The first message; `None` at the end of the connection.
    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<First>> {
        let mut bytes = Vec::new();
        match read_counted(from, &mut bytes).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let code = bytes.get(4..8).and_then(|code| code.try_into().ok());
        match code.map(u32::from_be_bytes) {
            Some(SSL | GSS) => Ok(Some(First::Encrypt)),
            Some(CANCEL) => Ok(Some(First::Cancel(bytes))),
            Some(STARTUP) => {
                let mut words = Words(&bytes[8..]);
                let mut user = String::new();
                while !words.0.is_empty() {
                    let (key, value) = (words.next(), words.next());
                    if key == b"user" {
                        user = String::from_utf8_lossy(value).into_owned();
                    }
                }
                Ok(Some(First::Startup { user, bytes }))
            }
            _ => Err(io::Error::other("unknown protocol")),
        }
    }
}

/// Reads a length, which includes itself, and the rest of the message.
async fn read_counted(from: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await?;
    let n_bytes = u32::from_be_bytes(length) as usize;
    if !(4..MAX_BYTES).contains(&n_bytes) {
        return Err(io::Error::other("invalid message length"));
    }
    bytes.extend(length);
    let start = bytes.len();
    bytes.resize(start + n_bytes - 4, 0);
    from.read_exact(&mut bytes[start..]).await.map(|_| ())
}

/// NUL-terminated strings.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn next(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0);
        let end = end.unwrap_or(self.0.len());
        let word = &self.0[..end];
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        word
    }
}

/// The prepared statements and portals of one connection.
#[derive(Debug, Default)]
pub(super) struct Statements {
    prepared: HashMap<Vec<u8>, Arc<str>>,
    portals: HashMap<Vec<u8>, Arc<str>>,
}

impl Statements {
    /// Records a client message. Returns the text of the statement if the message
    /// executes one.
    pub(super) fn executed(&mut self, frame: &Frame) -> Option<Arc<str>> {
        let mut words = Words(frame.body());
        match frame.tag {
            b'Q' => Some(text(words.next())),
            b'P' => {
                let name = words.next().to_vec();
                self.prepared.insert(name, text(words.next()));
                None
            }
            b'B' => {
                let portal = words.next().to_vec();
                if let Some(text) = self.prepared.get(words.next()) {
                    self.portals.insert(portal, Arc::clone(text));
                }
                None
            }
            b'E' => self.portals.get(words.next()).cloned(),
            _ => None,
        }
    }
}

fn text(bytes: &[u8]) -> Arc<str> {
    String::from_utf8_lossy(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startup(code: u32, rest: &[u8]) -> Vec<u8> {
        let length = u32::try_from(8 + rest.len()).unwrap();
        [&length.to_be_bytes(), &code.to_be_bytes(), rest].concat()
    }

    #[tokio::test]
    async fn the_first_message_is_parsed() {
        let login = startup(STARTUP, b"database\0d\0user\0eve\0\0");
        let first = First::read(&mut login.as_slice()).await.unwrap();
        let (user, bytes) = ("eve".to_owned(), login.clone());
        assert_eq!(first, Some(First::Startup { user, bytes }));
        let first = First::read(&mut startup(SSL, b"").as_slice()).await;
        assert_eq!(first.unwrap(), Some(First::Encrypt));
        let cancel = startup(CANCEL, b"12345678");
        let first = First::read(&mut cancel.as_slice()).await.unwrap();
        assert_eq!(first, Some(First::Cancel(cancel)));
        assert_eq!(First::read(&mut [].as_slice()).await.unwrap(), None);
        assert!(
            First::read(&mut b"GET / HTTP/1.1".as_slice())
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn incomplete_messages_are_errors() {
        let two = [Frame::of(b'Q', b"SELECT 1\0"), Frame::of(b'S', b"")];
        let bytes = [two[0].bytes.clone(), two[1].bytes.clone()].concat();
        let mut stream = bytes.as_slice();
        for frame in two {
            assert_eq!(Frame::read(&mut stream).await.unwrap(), Some(frame));
        }
        assert_eq!(Frame::read(&mut stream).await.unwrap(), None);
        let mut half = &bytes[..8];
        assert!(Frame::read(&mut half).await.is_err());
    }

    #[test]
    fn an_execution_has_the_text_of_its_prepared_statement() {
        let mut statements = Statements::default();
        let mut send = |tag, body: &[u8]| statements.executed(&Frame::of(tag, body));
        assert_eq!(send(b'P', b"s1\0SELECT 1\0\0\0"), None);
        assert_eq!(send(b'P', b"\0SELECT 2\0\0\0"), None);
        assert_eq!(send(b'B', b"\0s1\0\0\0\0\0\0\0"), None);
        assert_eq!(send(b'E', b"\0\0\0\0\0").as_deref(), Some("SELECT 1"));
        assert_eq!(send(b'B', b"p\0\0\0\0\0\0\0\0"), None);
        assert_eq!(send(b'E', b"p\0\0\0\0\0").as_deref(), Some("SELECT 2"));
        assert_eq!(send(b'Q', b"COMMIT\0").as_deref(), Some("COMMIT"));
        assert_eq!(send(b'S', b""), None);
    }

    #[test]
    fn only_the_statement_is_rewritten() {
        let prepare = Frame::of(b'P', b"s1\0SELECT 1\0\0\0");
        let wanted = Frame::of(b'P', b"s1\0SELECT 22\0\0\0");
        assert_eq!(prepare.clone().rewritten("1", "22"), wanted);
        assert_eq!(prepare.clone().rewritten("s1", "s2"), prepare);
        let query = Frame::of(b'Q', b"BEGIN; SELECT 1\0");
        let wanted = Frame::of(b'Q', b"SELECT 1\0");
        assert_eq!(query.rewritten("BEGIN; ", ""), wanted);
    }
}
