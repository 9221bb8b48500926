//! Handles a server that has no connection left.
//!
//! Outcomes come first, then the lease, then claims. A role that gets no connection closes that
//! of a less important role that is not in use; a role less important than claims borrows the
//! connection of the claims. So three connections are enough, and no other role blocks one that
//! outcomes need.

use std::time::Duration;

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::{LEAST_FIRST, RARE, Role};
use crate::connect::session::{Lease, Session};
use crate::connect::shortage::IDLE;

/// Attempts to connect while other connections close; the server takes a moment for each.
const TRIES: u32 = 6;
/// Pause between attempts.
const PAUSE: Duration = Duration::from_millis(30);

impl Store {
    /// The session of a role, exclusively for the caller until dropped.
    pub(crate) async fn lease(
        &self,
        role: Role,
        verb: &'static str,
    ) -> Result<Lease<'_>, StoreError> {
        self.close_idle();
        let mut slot = self.sessions()[role as usize].lock().await;
        let session = match slot.take() {
            Some(session) if !session.client.is_closed() => session,
            _ => match self.open_or_make_room(role).await {
                Err(error) if error.is_shortage() && role.may_borrow() => {
                    // The slot must be released first: its owner may be the one to wait for.
                    drop(slot);
                    return self.borrow(role, verb, error).await;
                }
                opened => opened?,
            },
        };
        let schema = self.config().schema.as_str();
        Ok(Lease::new(slot, session, schema, role.patience(), verb))
    }

    /// Makes sure that there are connections for outcomes and for the heartbeat before a claim:
    /// a running task needs both.
    pub(crate) async fn ensure_outcome_and_beat_connections(&self) -> Result<(), StoreError> {
        // If it is locked, the connection exists. A flush may take long, and claims continue
        // alongside.
        if let Ok(mut slot) = self.sessions()[Role::Finish as usize].try_lock() {
            self.expect(Role::Finish, &mut slot).await?;
        }
        // While a beat connects, its slot is locked and has no connection yet.
        let beat = self.sessions()[Role::Beat as usize].lock();
        match tokio::time::timeout(TRIES * PAUSE, beat).await {
            Ok(mut slot) => self.expect(Role::Beat, &mut slot).await,
            Err(_) => Ok(()),
        }
    }

    async fn expect(&self, role: Role, slot: &mut Option<Session>) -> Result<(), StoreError> {
        if slot
            .as_ref()
            .is_none_or(|session| session.client.is_closed())
        {
            *slot = Some(self.open_or_make_room(role).await?);
        }
        Ok(())
    }

    /// Opens a connection, if necessary after closing one of a less important role.
    async fn open_or_make_room(&self, role: Role) -> Result<Session, StoreError> {
        let mut n_tries = 0;
        let mut n_closed = 0;
        loop {
            let error = match self.open(role).await {
                Err(error) if error.is_shortage() => error,
                opened => return opened,
            };
            self.shortage().note();
            n_tries += 1;
            // One at a time: the next only if closing that one was not enough.
            let is_new = n_tries % 2 == 1;
            n_closed += usize::from(is_new && self.close_one(role));
            if n_tries >= TRIES || n_closed == 0 {
                return Err(error);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Closes one connection of a role less important than this one that is not in use.
    fn close_one(&self, role: Role) -> bool {
        for less in LEAST_FIRST.into_iter().take(role.rank()) {
            if matches!(less, Role::General) && (self.pools().close_one() || self.close_listener())
            {
                return true;
            }
            let slot = self.sessions()[less as usize].try_lock();
            let session = slot.ok().and_then(|mut slot| slot.take());
            if session.is_some_and(|session| !session.client.is_closed()) {
                tracing::debug!(?less, ?role, "closed a connection for a more important one");
                return true;
            }
        }
        false
    }

    fn close_listener(&self) -> bool {
        let listens = self.is_listening();
        if listens {
            self.shortage().give_up.notify_waiters();
        }
        listens
    }

    /// Borrows the connection of the claims for a role that gets none.
    async fn borrow(
        &self,
        role: Role,
        verb: &'static str,
        error: StoreError,
    ) -> Result<Lease<'_>, StoreError> {
        let mut slot = self.sessions()[Role::Claim as usize].lock().await;
        let session = match slot.take() {
            Some(session) if !session.client.is_closed() => session,
            _ => return Err(error),
        };
        let schema = self.config().schema.as_str();
        Ok(Lease::new(slot, session, schema, role.patience(), verb))
    }

    /// Closes connections of rare roles that have been idle for a while.
    fn close_idle(&self) {
        if !self.shortage().is_time_to_look() {
            return;
        }
        for role in RARE {
            if let Ok(mut slot) = self.sessions()[role as usize].try_lock() {
                slot.take_if(|session| session.used.elapsed() >= IDLE);
            }
        }
    }
}
