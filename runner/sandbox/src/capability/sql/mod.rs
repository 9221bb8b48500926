//! `pgtq:plugin/sql`: statements in the task's own transaction.

use wasmtime::component::Linker;

use crate::attempt::denied::Denied;
use crate::attempt::host_call::Caller;
use crate::attempt::state::{CapabilityContext, StoreData};
use crate::capability::answer::answer;
use crate::capability::database::database;
use crate::capability::registration::{Capability, no_services};
use crate::capability::state::check;
use pgtq_task::{GuestError, SqlGrant};

pub(super) const CAPABILITY: Capability = Capability {
    interfaces: &["pgtq:plugin/sql"],
    link,
    add_services: no_services,
};

fn link(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    let mut interface = linker.instance("pgtq:plugin/sql@1.0.0")?;
    answer!(
        interface,
        "run",
        |store, (statement: String, params: String)| statement.len() + params.len(),
        run(&mut store, statement, params)
    );
    answer!(
        interface,
        "checkpoint",
        |store, (value: String)| value.len(),
        checkpoint(&mut store, value)
    );
    Ok(())
}

/// What one attempt has used of its budget.
struct Used {
    statements: u32,
}

impl CapabilityContext for Used {
    fn new(_: &StoreData) -> Self {
        Used { statements: 0 }
    }
}

/// The grant, if the handler requests SQL and is granted it.
fn allowed(state: &mut StoreData) -> Result<SqlGrant, GuestError> {
    let access = state.access();
    let asked = access.is_some_and(|access| access.needs().sql);
    let granted = access.and_then(|access| access.grant().sql.clone());
    match granted {
        Some(grant) if asked => Ok(grant),
        granted => Err(Denied {
            what: "SQL".to_owned(),
            need: (!asked).then(|| "sql".to_owned()),
            grant: granted.is_none().then(|| "sql = \"ROLE\"".to_owned()),
        }
        .report(state)),
    }
}

async fn run(
    store: &mut Caller<'_>,
    statement: String,
    params: String,
) -> Result<String, GuestError> {
    let state = store.data_mut();
    let grant = allowed(state)?;
    let limit = state.limits.sql_statements;
    let used = state.context::<Used>();
    used.statements += 1;
    if used.statements > limit {
        return Err(GuestError::new(
            "limit",
            format!(
                "this attempt has run {limit} SQL statements, which is its limit; do more in one statement, or raise `limits.sql_statements`"
            ),
        ));
    }
    let (database, limits) = database(state);
    database.sql(&grant, &limits, &statement, &params).await
}

async fn checkpoint(store: &mut Caller<'_>, value: String) -> Result<(), GuestError> {
    let state = store.data_mut();
    allowed(state)?;
    check(state, "", &value)?;
    let (database, limits) = database(state);
    database.checkpoint(&limits, &value).await
}
