//! `pgtq:plugin/sql`: statements in the task's own transaction.

use wasmtime::component::LinkerInstance;

use crate::attempt::access::Denied;
use crate::attempt::state::State;
use crate::capability::answer;
use crate::run::linker::Caller;
use pgtq_task::{Problem, SqlGrant};

pub(crate) fn link(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    answer!(
        linker,
        "run",
        |store, (statement: String, params: String)| statement.len() + params.len(),
        run(&mut store, statement, params)
    );
    answer!(
        linker,
        "checkpoint",
        |store, (value: String)| value.len(),
        checkpoint(&mut store, value)
    );
    Ok(())
}

/// The grant, if the handler requests SQL and is granted it.
fn allowed(state: &mut State) -> Result<SqlGrant, Problem> {
    let access = state.access.as_deref();
    let asked = access.is_some_and(|access| access.needs().sql);
    let granted = access.and_then(|access| access.grant.sql.clone());
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

async fn run(store: &mut Caller<'_>, statement: String, params: String) -> Result<String, Problem> {
    let state = store.data_mut();
    let grant = allowed(state)?;
    state.sql_statements += 1;
    let limit = state.limits.sql_statements;
    if state.sql_statements > limit {
        return Err(Problem::new(
            "limit",
            format!(
                "this attempt has run {limit} SQL statements, which is its limit; do more in one statement, or raise `sql_statements`"
            ),
        ));
    }
    let (database, limits) = state.database();
    database.sql(&grant, &limits, &statement, &params).await
}

async fn checkpoint(store: &mut Caller<'_>, value: String) -> Result<(), Problem> {
    let state = store.data_mut();
    allowed(state)?;
    crate::capability::state::check(state, "", &value)?;
    let (database, limits) = state.database();
    database.checkpoint(&limits, &value).await
}
