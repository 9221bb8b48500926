//! One connection through the proxy.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixStream, unix};
use tokio::sync::Notify;

use super::frame::{First, Frame, Statements};
use super::{Fault, Shared};

/// The state shared by both directions of a connection.
#[derive(Default)]
struct Link {
    /// Whether responses are dropped.
    is_mute: AtomicBool,
    /// The number of `ReadyForQuery` messages: one for the login, one per request.
    n_ready: AtomicUsize,
    ready: Notify,
}

/// Forwards messages until either side closes, or a fault cuts the connection.
pub(super) async fn serve(shared: &Shared, number: u64, mut client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (user, login) = loop {
        shared.may_forward(number).await;
        match First::read(&mut client).await? {
            Some(First::Encrypt) => client.write_all(b"N").await?,
            Some(First::Startup { user, bytes }) => break (user, bytes),
            Some(First::Cancel(bytes)) => {
                let mut server = UnixStream::connect(&shared.socket).await?;
                return server.write_all(&bytes).await;
            }
            None => return Ok(()),
        }
    };
    shared.may_forward(number).await;
    let mut server = UnixStream::connect(&shared.socket).await?;
    server.write_all(&login).await?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let link = Link::default();
    let upstream = Upstream {
        shared,
        number,
        user: &user,
        link: &link,
        statements: Statements::default(),
        // One for the login.
        n_requests: 1,
    };
    tokio::select! {
        result = upstream.forward(from_client, to_server) => result,
        result = downstream(shared, number, &link, from_server, to_client) => result,
    }
}

/// Forwards messages from the server to the client.
async fn downstream(
    shared: &Shared,
    number: u64,
    link: &Link,
    mut from: unix::OwnedReadHalf,
    mut to: OwnedWriteHalf,
) -> io::Result<()> {
    while let Some(frame) = Frame::read(&mut from).await? {
        if frame.tag == b'Z' {
            link.n_ready.fetch_add(1, SeqCst);
            link.ready.notify_one();
        }
        if !link.is_mute.load(SeqCst) {
            shared.may_forward(number).await;
            to.write_all(&frame.bytes).await?;
        }
    }
    // A black hole does not forward the end of a connection either.
    shared.may_forward(number).await;
    Ok(())
}

/// The direction from the client to the server.
struct Upstream<'a> {
    shared: &'a Shared,
    number: u64,
    user: &'a str,
    link: &'a Link,
    statements: Statements,
    n_requests: usize,
}

impl Upstream<'_> {
    async fn forward(
        mut self,
        mut from: OwnedReadHalf,
        mut to: unix::OwnedWriteHalf,
    ) -> io::Result<()> {
        while let Some(frame) = self.next(&mut from).await? {
            let fault = match self.statements.executed(&frame) {
                Some(text) => self.shared.fault_for(self.user, &text),
                None => Fault::None,
            };
            match fault {
                Fault::None => {}
                Fault::CutBefore => return Ok(()),
                Fault::Hold => {
                    let hold = |gate: &mut super::Gate| {
                        gate.held.insert(self.number);
                    };
                    self.shared.gate.send_modify(hold);
                }
                Fault::CutAfter | Fault::CutDuring => {
                    self.link.is_mute.store(true, SeqCst);
                    self.finish(frame, &mut from, &mut to).await?;
                    if fault == Fault::CutAfter {
                        self.until_ready().await;
                    }
                    return Ok(());
                }
            }
            self.shared.may_forward(self.number).await;
            to.write_all(&frame.bytes).await?;
        }
        self.shared.may_forward(self.number).await;
        Ok(())
    }

    /// The next message, rewritten.
    async fn next(&mut self, from: &mut OwnedReadHalf) -> io::Result<Option<Frame>> {
        let Some(mut frame) = Frame::read(from).await? else {
            return Ok(None);
        };
        for (old, new) in &self.shared.state().rewrites {
            frame = frame.rewritten(old, new);
        }
        self.n_requests += usize::from(frame.ends_a_request());
        Ok(Some(frame))
    }

    /// Forwards the rest of a request.
    async fn finish(
        &mut self,
        first: Frame,
        from: &mut OwnedReadHalf,
        to: &mut unix::OwnedWriteHalf,
    ) -> io::Result<()> {
        let mut frame = first;
        loop {
            to.write_all(&frame.bytes).await?;
            if frame.ends_a_request() {
                return Ok(());
            }
            let Some(next) = self.next(from).await? else {
                return Ok(());
            };
            frame = next;
        }
    }

    /// Waits until the server has completed all requests.
    async fn until_ready(&self) {
        while self.link.n_ready.load(SeqCst) < self.n_requests {
            self.link.ready.notified().await;
        }
    }
}
