//! Detects a pooler between pgtq and Postgres.
//!
//! A server gives each connection its process id, which a cancel request names. A pooler gives
//! an id of its own, because the process behind it changes. So this compares the id that a
//! cancel request would name with that of the process which answers. Does not distinguish
//! pooling modes.

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::connect::cancel_request::CancelRequest;

/// Uses one simple statement, which every mode of every pooler accepts.
pub(crate) async fn is_between(
    client: &Client,
    config: &tokio_postgres::Config,
) -> Result<bool, tokio_postgres::Error> {
    let answer = client
        .simple_query(include_str!("../sql/backend.sql"))
        .await?;
    let answers = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse::<i32>().ok(),
        _ => None,
    });
    let request = CancelRequest::of(client, config).await?;
    let told = request.map(|request| request.process());
    Ok(answers.is_some() && told.is_some() && answers != told)
}
