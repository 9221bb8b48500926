//! The capabilities of a test: answers come from the test's fakes. Calls without
//! a matching fake are denied.

use std::rc::Rc;

use pgtq_contract::{HttpTarget, TargetError};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::host::native::Host;
use crate::host::types::{Incoming, Outgoing};
use crate::sql::rows::Rows;
use crate::testing::http::Requested;
use crate::testing::needs::rule_for;
use crate::testing::record::Record;
use crate::testing::sql::Statement;

/// The default size limit of one saved value.
const STATE_BYTES: usize = 1 << 20;

impl Host {
    /// Calls the first matching `on_sql` fake.
    pub(crate) fn sql(&self, statement: &str, params: &str) -> Result<Rows> {
        let statement = Statement {
            text: statement.to_owned(),
            params: serde_json::from_str(params)?,
        };
        let fake = {
            let mut record = self.0.borrow_mut();
            record.demand("SQL", "sql", |needs| needs.sql)?;
            record.statements.push(statement.clone());
            if let Some(cause) = &record.aborted_by {
                let message = format!(
                    "the transaction is aborted because `{cause}` failed: no further statement runs"
                );
                return Err(Error::from_host("sql:25P02", message));
            }
            let mut tables = record.tables.iter();
            let matching = tables.find(|(part, _)| statement.contains(part));
            matching.map(|(_, fake)| Rc::clone(fake))
        };
        let Some(fake) = fake else {
            return Err(Error::from_host(
                "denied",
                format!(
                    "no fake matches `{}`: add `.on_sql(\"part of the statement\", |_| \
                     Ok(Rows::of([\"id\"], [(1,)])))` to the test",
                    statement.text
                ),
            ));
        };
        let response = (*fake.borrow_mut())(&statement);
        if response.is_err() {
            self.0.borrow_mut().aborted_by = Some(statement.text);
        }
        response
    }

    pub(crate) fn checkpoint(&self, value: &str) -> Result<()> {
        let mut record = self.0.borrow_mut();
        record.demand("SQL", "sql", |needs| needs.sql)?;
        if let Some(cause) = &record.aborted_by {
            let message = format!("the transaction is aborted because `{cause}` failed");
            return Err(Error::from_host("sql:25P02", message));
        }
        keep(&mut record, "", value, true)?;
        record.commit();
        Ok(())
    }

    pub(crate) fn load(&self, name: &str) -> Result<Option<String>> {
        let record = self.0.borrow();
        let saved = record.saved_with_sql.get(name);
        let saved = saved.or_else(|| record.saved.get(name));
        Ok(saved.map(Value::to_string))
    }

    pub(crate) fn save(&self, name: &str, value: &str, with_sql: bool) -> Result<()> {
        keep(&mut self.0.borrow_mut(), name, value, with_sql)
    }

    pub(crate) fn secret(&self, name: &str) -> Result<String> {
        let mut record = self.0.borrow_mut();
        demand_secret(&mut record, name)?;
        let value = record.secrets.get(name).cloned();
        value.ok_or_else(|| {
            let message = format!(
                "no secret `{name}` is set: add `.secret(\"{name}\", \"a value\")` to the test"
            );
            Error::from_host("denied", message)
        })
    }

    /// Calls the first matching `on_http` fake.
    pub(crate) fn send(&self, outgoing: &Outgoing) -> Result<Incoming<Body>> {
        let request = Requested {
            method: outgoing.method.clone(),
            url: outgoing.url.whole(),
            headers: outgoing.headers.clone(),
            body: outgoing.body.clone(),
            timeout: outgoing.timeout,
        };
        let shown = format!("{} {}", request.method, outgoing.url.shown());
        let target = target(outgoing)?;
        let fake = {
            let mut record = self.0.borrow_mut();
            record.demand(&shown, &rule_for(&outgoing.url), |needs| {
                needs.http.iter().any(|rule| rule.allows(&target))
            })?;
            for name in placeholders(&request.headers) {
                demand_secret(&mut record, &name)?;
            }
            record.requests.push(request.clone());
            let mut servers = record.servers.iter();
            let matching = servers.find(|(method, url, _)| request.matches(method, url));
            matching.map(|(_, _, fake)| Rc::clone(fake))
        };
        let Some(fake) = fake else {
            let message = format!(
                "denied {shown}: no fake matches: add `.on_http(\"{}\", \"{}\", |_| \
                 Ok(Reply::status(200)))` to the test",
                request.method, request.url
            );
            return Err(Error::from_host("denied", message));
        };
        let reply = (*fake.borrow_mut())(&request)?;
        Ok(Incoming {
            status: reply.status,
            headers: reply.headers,
            body: Body(reply.body.into()),
        })
    }
}

/// What rules check. No rule could allow a request without it.
fn target(outgoing: &Outgoing) -> Result<HttpTarget> {
    let url = &outgoing.url;
    let target = HttpTarget::read(&outgoing.method, url.scheme(), &url.authority, url.path());
    target.map_err(|error| {
        let (TargetError::Method(why) | TargetError::Url(why)) = error;
        Error::from_host("invalid", format!("denied a request: {why}"))
    })
}

fn keep(record: &mut Record, name: &str, value: &str, with_sql: bool) -> Result<()> {
    if value.len() > STATE_BYTES {
        let message = format!(
            "the value is {} bytes, the limit is {STATE_BYTES}",
            value.len()
        );
        return Err(Error::from_host("limit", message));
    }
    let saved = match with_sql {
        true => &mut record.saved_with_sql,
        false => &mut record.saved,
    };
    saved.insert(name.to_owned(), serde_json::from_str(value)?);
    Ok(())
}

fn demand_secret(record: &mut Record, name: &str) -> Result<()> {
    let what = format!("the secret `{name}`");
    record.demand(&what, &format!("secret = \"{name}\""), |needs| {
        needs.secrets.iter().any(|known| known == name)
    })
}

/// The names of the secrets that the headers refer to.
fn placeholders(headers: &[(String, String)]) -> Vec<String> {
    let mut names = Vec::new();
    for (_, value) in headers {
        for part in value.split("{{secret:").skip(1) {
            names.extend(part.split_once("}}").map(|(name, _)| name.to_owned()));
        }
    }
    names
}

/// The body of a response, read in chunks.
#[derive(Debug)]
pub(crate) struct Body(std::collections::VecDeque<u8>);

impl Body {
    /// The next bytes, at most `most`; empty at the end.
    #[expect(clippy::unnecessary_wraps, reason = "the sandbox's body can fail")]
    pub(crate) fn read(&mut self, most: u64) -> Result<Vec<u8>> {
        let count = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .min(self.0.len());
        Ok(self.0.drain(..count).collect())
    }
}
