//! Wake-up: LISTEN on a dedicated connection.
//!
//! A notification is a hint: polling continues alongside. LISTEN can fail without an error
//! (behind a pooler, on a half-open connection), so the listener notifies itself now and then,
//! and treats a missing echo as a lost connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_postgres::Client;

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::verbs::lanes::named_queues::NamedQueues;
use pgtq_task::Name;

/// Why a listener woke up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Tasks were pushed, or became runnable again, for runners that have set one of these
    /// flags: claim.
    Work(WakeFlags),
    /// A running task was cancelled: call [`Store::cancelled`].
    Cancel,
    /// The connection was lost and is back: check everything.
    Reconnected,
}

/// The wake-up flags that were cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WakeFlags(u32);

impl WakeFlags {
    /// All flags, for a notification that names none.
    const ALL: u32 = (1 << 16) - 1;

    /// Whether they concern a queue with this flag, or a runner that serves any queue.
    pub fn concern(self, flag: Option<u8>) -> bool {
        flag.is_none_or(|flag| self.0 & 1_u32.checked_shl(flag.into()).unwrap_or(0) != 0)
    }

    /// The flag of a notification, and the queues that it names.
    fn read(payload: &str) -> (u32, Vec<Name>) {
        let mut words = payload.split(' ');
        let is_work = words.next() == Some("work");
        match words.next().map(str::parse::<u32>) {
            Some(Ok(flag @ 0..=15)) if is_work => {
                let queues = words.filter_map(|queue| Name::new(queue).ok());
                (1 << flag, queues.collect())
            }
            _ => (Self::ALL, Vec::new()),
        }
    }
}

/// Receives notifications and verifies that they arrive: a self-notify must come back.
pub struct Listener {
    store: Store,
    client: Option<Client>,
    heard: Arc<Heard>,
    echo_channel: String,
    /// When the next echo is sent or, while one is awaited, when it counts as lost.
    next: Instant,
    awaiting: bool,
    healthy: bool,
    failures: u32,
    retry_at: Instant,
}

#[derive(Default)]
struct Heard {
    flags: AtomicU32,
    /// Added before the flag is set.
    named: NamedQueues,
    notify: Notify,
}

// Bits besides those of `WakeFlags`.
const CANCEL: u32 = 1 << 29;
const ECHO: u32 = 1 << 30;
const CLOSED: u32 = 1 << 31;

/// How often the listener verifies that notifications arrive.
const ECHO_EVERY: Duration = Duration::from_secs(10);
const ECHO_WITHIN: Duration = Duration::from_secs(5);

impl Store {
    /// Starts listening. Needs a dedicated session: it cannot work through a transaction pooler
    /// (`poll_only`), where it never wakes, unless there is an address that bypasses the pooler.
    pub async fn listen(&self) -> Result<Listener, StoreError> {
        let now = Instant::now();
        let mut listener = Listener {
            store: self.clone(),
            client: None,
            heard: Arc::default(),
            echo_channel: String::new(),
            next: now,
            awaiting: false,
            healthy: false,
            failures: 0,
            retry_at: now,
        };
        if self.config().can_listen() {
            match listener.connect().await {
                // The listener retries itself; the runner polls meanwhile.
                Err(error) if error.is_shortage() => {
                    tracing::warn!(%error, hint = error.hint(), "cannot listen; polling");
                }
                connected => connected?,
            }
        }
        Ok(listener)
    }
}

impl Listener {
    /// Waits for the next reason to check; several may be merged into one. Reconnects itself,
    /// with back-off, indefinitely. Cancel-safe.
    pub async fn recv(&mut self) -> Wake {
        if !self.store.config().can_listen() {
            return std::future::pending().await;
        }
        loop {
            if self.client.is_none() {
                sleep_until(self.retry_at).await;
                // Set before the attempt, so that a dropped future does not retry at once.
                self.failures = self.failures.saturating_add(1);
                let pause = Duration::from_millis(100 << self.failures.min(6));
                self.retry_at = Instant::now() + pause.min(Duration::from_secs(5));
                match self.connect().await {
                    Ok(()) => return Wake::Reconnected,
                    Err(error) => tracing::debug!(%error, "could not reconnect the listener"),
                }
                continue;
            }
            if let Some(wake) = self.take() {
                return wake;
            }
            tokio::select! {
                () = self.heard.notify.notified() => {}
                () = sleep_until(self.next) => self.echo().await,
            }
        }
    }

    /// Whether the last self-notify came back in time.
    pub fn is_healthy(&self) -> bool {
        self.healthy && self.client.is_some()
    }

    /// Queues that notifications up to the last [`Wake::Work`] have named.
    pub fn named(&self) -> &NamedQueues {
        &self.heard.named
    }

    fn take(&mut self) -> Option<Wake> {
        let flags = self.heard.flags.swap(0, Ordering::AcqRel);
        if flags & CLOSED != 0 {
            self.client = None;
            return None;
        }
        if flags & ECHO != 0 {
            self.awaiting = false;
            self.healthy = true;
            self.failures = 0;
            self.next = Instant::now() + ECHO_EVERY;
        }
        if flags & CANCEL != 0 {
            // The others are kept for the next call.
            let work = flags & WakeFlags::ALL;
            self.heard.flags.fetch_or(work, Ordering::AcqRel);
            return Some(Wake::Cancel);
        }
        let work = WakeFlags(flags & WakeFlags::ALL);
        (work.0 != 0).then_some(Wake::Work(work))
    }

    async fn echo(&mut self) {
        if self.awaiting {
            tracing::warn!("no notifications arrive from the database; reconnecting");
            self.healthy = false;
            self.client = None;
            return;
        }
        self.awaiting = true;
        self.next = Instant::now() + ECHO_WITHIN;
        let text = format!("NOTIFY \"{}\"", self.echo_channel);
        if let Some(client) = &self.client {
            // A failure shows as a missing echo.
            tokio::time::timeout(ECHO_WITHIN, client.batch_execute(&text))
                .await
                .ok();
        }
    }

    async fn connect(&mut self) -> Result<(), StoreError> {
        let heard = Arc::new(Heard::default());
        let channel = self.store.config().schema.channel();
        let echo_channel = format!("{channel}_echo_{}", std::process::id());
        let (ears, echo) = (Arc::clone(&heard), echo_channel.clone());
        let client = self
            .store
            .open_listener(move |note| {
                let flag = match note {
                    None => CLOSED,
                    Some((channel, _)) if channel == echo => ECHO,
                    Some((_, "cancel")) => CANCEL,
                    Some((_, payload)) => {
                        let (flags, queues) = WakeFlags::read(payload);
                        ears.named.add(&queues);
                        flags
                    }
                };
                ears.flags.fetch_or(flag, Ordering::AcqRel);
                ears.notify.notify_one();
            })
            .await?;
        let text = format!("LISTEN \"{channel}\"; LISTEN \"{echo_channel}\"");
        client
            .batch_execute(&text)
            .await
            .map_err(|error| crate::connect::error::classify("listen", channel.as_str(), &error))?;
        self.heard = heard;
        self.echo_channel = echo_channel;
        self.awaiting = false;
        self.next = Instant::now();
        self.client = Some(client);
        Ok(())
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("healthy", &self.is_healthy())
            .finish_non_exhaustive()
    }
}
