//! One connection through the proxy.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixStream, unix};
use tokio::sync::Notify;

use super::frame::{First, Frame, Statements};
use super::{Fate, Shared};

/// What both directions of a connection share.
#[derive(Default)]
struct Pair {
    /// Nobody carries answers any more.
    is_mute: AtomicBool,
    /// How often the server was ready: once for the login, once for each request.
    n_ready: AtomicUsize,
    ready: Notify,
}

/// Passes messages until either side ends, or a rule ends it.
pub(super) async fn serve(shared: &Shared, number: u64, mut client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (user, login) = loop {
        shared.may_pass(number).await;
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
    shared.may_pass(number).await;
    let mut server = UnixStream::connect(&shared.socket).await?;
    server.write_all(&login).await?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let pair = Pair::default();
    let up = Up {
        shared,
        number,
        user: &user,
        pair: &pair,
        statements: Statements::default(),
        // The login.
        n_requests: 1,
    };
    tokio::select! {
        end = up.pass(from_client, to_server) => end,
        end = down(shared, number, &pair, from_server, to_client) => end,
    }
}

/// From the server to the client.
async fn down(
    shared: &Shared,
    number: u64,
    pair: &Pair,
    mut from: unix::OwnedReadHalf,
    mut to: OwnedWriteHalf,
) -> io::Result<()> {
    while let Some(frame) = Frame::read(&mut from).await? {
        if frame.tag == b'Z' {
            pair.n_ready.fetch_add(1, SeqCst);
            pair.ready.notify_one();
        }
        if !pair.is_mute.load(SeqCst) {
            shared.may_pass(number).await;
            to.write_all(&frame.bytes).await?;
        }
    }
    // A black hole does not tell of an end either.
    shared.may_pass(number).await;
    Ok(())
}

/// From the client to the server.
struct Up<'a> {
    shared: &'a Shared,
    number: u64,
    user: &'a str,
    pair: &'a Pair,
    statements: Statements,
    n_requests: usize,
}

impl Up<'_> {
    async fn pass(
        mut self,
        mut from: OwnedReadHalf,
        mut to: unix::OwnedWriteHalf,
    ) -> io::Result<()> {
        while let Some(frame) = self.next(&mut from).await? {
            let fate = match self.statements.executed(&frame) {
                Some(text) => self.shared.judge(self.user, &text),
                None => Fate::Passes,
            };
            match fate {
                Fate::Passes => {}
                Fate::LostBefore => return Ok(()),
                Fate::Held => {
                    let hold = |gate: &mut super::Gate| {
                        gate.held.insert(self.number);
                    };
                    self.shared.gate.send_modify(hold);
                }
                Fate::LostBehind | Fate::LostMeanwhile => {
                    self.pair.is_mute.store(true, SeqCst);
                    self.finish(frame, &mut from, &mut to).await?;
                    if fate == Fate::LostBehind {
                        self.until_ready().await;
                    }
                    return Ok(());
                }
            }
            self.shared.may_pass(self.number).await;
            to.write_all(&frame.bytes).await?;
        }
        self.shared.may_pass(self.number).await;
        Ok(())
    }

    /// The next message, as it shall be passed.
    async fn next(&mut self, from: &mut OwnedReadHalf) -> io::Result<Option<Frame>> {
        let Some(mut frame) = Frame::read(from).await? else {
            return Ok(None);
        };
        for (old, new) in &self.shared.book().rewrites {
            frame = frame.rewritten(old, new);
        }
        self.n_requests += usize::from(frame.ends_a_request());
        Ok(Some(frame))
    }

    /// Passes the rest of a request.
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

    /// Waits until the server has done all that it was asked for.
    async fn until_ready(&self) {
        while self.pair.n_ready.load(SeqCst) < self.n_requests {
            self.pair.ready.notified().await;
        }
    }
}
