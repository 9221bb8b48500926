//! The life cycle of a runner in the database: register, publish handlers, wait for work,
//! retire.

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::connect::unreadable::log_unreadable_claim;
use crate::sql::sql;
use pgtq_task::{Digest, HandlerInfo, Name, RunnerId};

/// What a runner reports once, when it registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerFacts {
    /// A display name; need not be unique.
    pub name: String,
    /// The machine's name.
    pub host: String,
    /// The process id on that machine.
    pub pid: u32,
    /// The version of pgtq.
    pub version: String,
    /// How many attempts run at once, over all queues.
    pub slots: u32,
    /// The queues it serves, as written in its configuration.
    pub queues: Vec<String>,
}

/// A handler that a runner has loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedHandler {
    /// The handler's description from the plugin.
    pub info: HandlerInfo,
    /// The file's digest.
    pub digest: Digest,
    /// The file's name, without its directory.
    pub file: String,
    /// The plugin's name and version.
    pub plugin: String,
}

/// The result of [`Store::request_wake`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WakeRequest {
    /// For [`WakeFlags::concern`](crate::verbs::listen::WakeFlags::concern); `None` for any queue.
    pub flag: Option<u8>,
    /// The flag was not set before.
    pub fresh: bool,
}

impl Store {
    /// Registers a runner with a lease of [`Store::LEASE`].
    pub async fn register(&self, facts: &RunnerFacts) -> Result<RunnerId, StoreError> {
        self.enter(facts, None).await
    }

    /// As [`Store::register`], for a process that has lost its lease. The tasks that it held as
    /// `previous` were not lost to a crash.
    pub async fn register_again(
        &self,
        facts: &RunnerFacts,
        previous: RunnerId,
    ) -> Result<RunnerId, StoreError> {
        self.enter(facts, Some(previous)).await
    }

    async fn enter(
        &self,
        facts: &RunnerFacts,
        previous: Option<RunnerId>,
    ) -> Result<RunnerId, StoreError> {
        let pid = i32::try_from(facts.pid).unwrap_or(i32::MAX);
        let slots = i32::try_from(facts.slots).unwrap_or(i32::MAX);
        let lease = Store::LEASE.as_secs_f64();
        let mut session = self.lease(Role::Beat, "register").await?;
        let rows = session
            .query(
                sql!("register"),
                &[
                    &facts.name,
                    &facts.host,
                    &pid,
                    &facts.version,
                    &slots,
                    &facts.queues,
                    &lease,
                    &self.ticket().hash(),
                ],
            )
            .await?;
        let id: i64 = rows[0].get("id");
        if let Some(previous) = previous {
            session
                .query(sql!("withdraw_crashes"), &[&previous.0, &id])
                .await?;
        }
        Ok(RunnerId(id))
    }

    /// Requests a notification at the next push to a queue, or to any queue. Look for work once
    /// more after a fresh request, before waiting.
    pub async fn request_wake(&self, queue: Option<&Name>) -> Result<WakeRequest, StoreError> {
        let rows = self
            .run(
                Role::Claim,
                "request a notification",
                sql!("request_wake"),
                &[&queue.map(Name::as_str)],
            )
            .await?;
        Ok(WakeRequest {
            flag: rows[0]
                .get::<_, Option<i32>>("flag")
                .and_then(|flag| u8::try_from(flag).ok()),
            fresh: rows[0].get("fresh"),
        })
    }

    /// Replaces the list of handlers that the runner has loaded.
    pub async fn publish_handlers(
        &self,
        runner: RunnerId,
        handlers: &[PublishedHandler],
    ) -> Result<(), StoreError> {
        let names: Vec<&str> = handlers.iter().map(|h| h.info.name.as_str()).collect();
        let infos: Vec<String> = handlers
            .iter()
            .map(|h| serde_json::to_string(&h.info).expect("a handler's info has string keys only"))
            .collect();
        let digests: Vec<&[u8]> = handlers.iter().map(|h| &h.digest.0[..]).collect();
        let files: Vec<&str> = handlers.iter().map(|h| h.file.as_str()).collect();
        let plugins: Vec<&str> = handlers.iter().map(|h| h.plugin.as_str()).collect();
        self.run(
            Role::General,
            "publish the runner's handlers",
            sql!("publish_handlers"),
            &[&runner.0, &names, &infos, &digests, &files, &plugins],
        )
        .await?;
        Ok(())
    }

    /// Asks live runners of this name or id to drain and stop. Returns how many were asked; each
    /// receives the request with its next beat.
    pub async fn drain(&self, runner: &str) -> Result<u64, StoreError> {
        let rows = self
            .run(Role::General, "drain a runner", sql!("drain"), &[&runner])
            .await?;
        Ok(rows[0].get::<_, i64>("n_runners").unsigned_abs())
    }

    /// Deregisters: releases the remaining claims without using an attempt, large claims in
    /// several steps, and removes the runner. Returns how many tasks were released.
    pub async fn retire(&self, runner: RunnerId) -> Result<u64, StoreError> {
        let mut lease = self.lease(Role::Beat, "retire the runner").await?;
        let mut released = 0;
        let mut tried: Vec<i64> = Vec::new();
        loop {
            let rows = lease
                .query_alone(sql!("release_some"), &[&runner.0, &tried])
                .await?;
            released += rows[0].get::<_, i64>("released").unsigned_abs();
            let claims: Vec<i64> = rows[0].get("claims");
            if claims.is_empty() {
                break;
            }
            tried.extend(claims);
        }
        lease.begin().await?;
        let everything: Option<Vec<i64>> = None;
        let rows = lease
            .query(sql!("release_claims"), &[&runner.0, &everything])
            .await?;
        let retired = lease.query(sql!("retire"), &[&runner.0]).await?;
        lease.commit().await?;
        for claim in retired
            .iter()
            .flat_map(|row| row.get::<_, Vec<i64>>("left_out"))
        {
            log_unreadable_claim(claim);
        }
        Ok(released + rows[0].get::<_, i64>("released").unsigned_abs())
    }
}
