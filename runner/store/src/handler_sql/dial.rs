//! Logs in as a granted role.

use std::future::poll_fn;
use std::sync::Arc;

use crate::connect::cancel_request::CancelRequest;
use crate::handler_sql::budget::ByteBudget;
use crate::handler_sql::dialer::{Dialer, OWN_BYTES, unreachable};
use crate::handler_sql::stop::{CancellableConnection, Stopper};
use crate::handler_sql::trouble::{is_outage, text};
use pgtq_task::{GuestError, SqlGrant};

impl Dialer {
    /// Logs in as the granted role, at the first host that accepts writes.
    pub(super) async fn connect(
        &self,
        grant: &SqlGrant,
    ) -> Result<CancellableConnection, GuestError> {
        let mut config = self.config.postgres.clone();
        let owner = config.get_user().unwrap_or_default().to_owned();
        if owner == grant.role {
            return Err(GuestError::new(
                "denied",
                format!(
                    "handlers' SQL must not run as {owner}, the runner's own role; create a separate role and grant that one"
                ),
            ));
        }
        let database = config.get_dbname().map_or(owner, ToOwned::to_owned);
        let password = grant.password.as_ref().map_or("", |secret| secret.reveal());
        if grant.password.is_some() && password.is_empty() {
            return Err(GuestError::new(
                "unavailable",
                format!(
                    "the secret with the password of the role {} has no value: see the runner's log or `pgtq doctor`",
                    grant.role
                ),
            ));
        }
        config.user(&grant.role).password(password).dbname(database);

        let must_take_writes = self.config.n_places() > 1;
        let mut last = None;
        for place in self.config.places() {
            let attempt = self.connect_to(place, &config, must_take_writes);
            match tokio::time::timeout(self.config.time_per_host(), attempt).await {
                Ok(Ok(line)) => return Ok(line),
                Ok(Err(problem)) => last = Some(problem),
                Err(_) => last = Some(unreachable(self, "no answer in time")),
            }
        }
        Err(last.unwrap_or_else(|| unreachable(self, "the address has no host")))
    }

    async fn connect_to(
        &self,
        place: usize,
        config: &tokio_postgres::Config,
        must_take_writes: bool,
    ) -> Result<CancellableConnection, GuestError> {
        let budget = Arc::new(ByteBudget::default());
        budget.allow(OWN_BYTES);
        let stream = self
            .dial(place, Arc::clone(&budget))
            .await
            .map_err(|error| unreachable(self, &error.to_string()))?;
        let tls = self.tls_for(place)?;
        let (client, mut connection) = config
            .connect_raw(stream, tls)
            .await
            .map_err(|error| self.login_error(config, &error))?;
        let driver = tokio::spawn(async move {
            // Notices contain text of the guest, and notifications are not used here; the
            // connection's own future would log the notices. The running statement reports
            // errors.
            while let Some(Ok(_)) = poll_fn(|cx| connection.poll_message(cx)).await {}
        });
        let request = CancelRequest::of(&client, config).await;
        let line = CancellableConnection {
            stopper: Stopper {
                dialer: self.clone(),
                place,
                request: request.map_err(|error| unreachable(self, &text(&error)))?,
            },
            client,
            budget,
            driver,
        };
        if must_take_writes {
            let rows = line
                .client
                .simple_query("SHOW transaction_read_only")
                .await
                .map_err(|error| unreachable(self, &text(&error)))?;
            let is_read_only = rows.iter().any(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0) == Some("on"),
                _ => false,
            });
            if is_read_only {
                line.driver.abort();
                return Err(unreachable(self, "no host accepts writes"));
            }
        }
        Ok(line)
    }

    fn login_error(
        &self,
        config: &tokio_postgres::Config,
        error: &tokio_postgres::Error,
    ) -> GuestError {
        let role = config.get_user().unwrap_or_default();
        let why = text(error);
        if is_outage(error) && !why.contains("password") {
            return unreachable(self, &why);
        }
        let advice = match config.get_password().is_some_and(|value| !value.is_empty()) {
            true => "check the value of its secret, and that the role has LOGIN".to_owned(),
            false => format!(
                "create it with LOGIN, and name the secret with its password in the grant: sql = {{ role = \"{role}\", password = \"SECRET\" }}"
            ),
        };
        GuestError::new(
            "unavailable",
            format!("the database rejected the login of the role {role}: {why}; {advice}"),
        )
    }
}
