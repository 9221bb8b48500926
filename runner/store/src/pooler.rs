//! Whether a pooler stands between us and Postgres.
//!
//! A server tells each connection the id of its process, with which the connection
//! can ask to cancel a statement. A pooler tells an id of its own making, because the
//! process behind it changes. So the id that a cancel request would name is compared
//! with that of the process which answers. Does not tell modes of pooling apart.

use tokio_postgres::{Client, SimpleQueryMessage};

use super::cancel_request::CancelRequest;

/// Asks by one simple statement, which every mode of every pooler lets pass.
pub(super) async fn is_between(
    client: &Client,
    config: &tokio_postgres::Config,
) -> Result<bool, tokio_postgres::Error> {
    let answer = client.simple_query(include_str!("sql/backend.sql")).await?;
    let answers = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse::<i32>().ok(),
        _ => None,
    });
    let request = CancelRequest::of(client, config).await?;
    let told = request.map(|request| request.process());
    Ok(answers.is_some() && told.is_some() && answers != told)
}
