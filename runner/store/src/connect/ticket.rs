//! The secret of one process, which authenticates its runner on a handler's own connection.

use std::fmt;

use rustls::crypto::ring;
use sha2::{Digest as _, Sha256};

use crate::connect::error::StoreError;

/// 32 random bytes. Never printed; sent only as a bound parameter.
pub(crate) struct Ticket([u8; 32]);

impl Ticket {
    pub(crate) fn new() -> Result<Self, StoreError> {
        let mut bytes = [0; 32];
        ring::default_provider()
            .secure_random
            .fill(&mut bytes)
            .map_err(|_| StoreError::Fault {
                verb: "make the runner's ticket",
                message: "the operating system's random number generator failed".to_owned(),
            })?;
        Ok(Ticket(bytes))
    }

    /// As a parameter.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The hash that the database stores.
    pub(crate) fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.0).to_vec()
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(..)")
    }
}
