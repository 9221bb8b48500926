//! `pgtq roles`: grants privileges to database roles, and lists the grants.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;

use crate::context::Context;
use crate::database;
use crate::error::Problem;
use crate::output::{Cell, Rows};
use pgtq_store::{RoleKind, RoleRow};

/// Arguments of `pgtq roles`.
#[derive(Debug, Args)]
#[command(
    after_help = "Kinds:\n  pusher    push tasks\n  worker    run tasks with the SQL functions for workers\n  viewer    read tasks, history, logs, arguments and results\n  runner    run `pgtq run`\n  deployer  wait for runners in `pgtq deploy --wait`\n  admin     read, push, cancel, retry and delete tasks, pause queues, drain runners, prune history\n\nWithout arguments, `pgtq roles` lists the grants.\n\nExample:\n  pgtq roles pusher web_app"
)]
pub(crate) struct RolesArgs {
    /// Kind of role, which determines the privileges
    #[arg(value_name = "KIND", requires = "role", value_parser = kinds())]
    pub(crate) kind: Option<RoleKind>,
    /// Existing database role; create one with CREATE ROLE name LOGIN PASSWORD '...'
    #[arg(value_name = "ROLE")]
    pub(crate) role: Option<String>,
    /// Revoke the privileges instead of granting them
    #[arg(long, requires = "kind")]
    pub(crate) revoke: bool,
    /// Print the SQL statements without running them
    #[arg(long, requires = "kind")]
    pub(crate) sql: bool,
}

fn kinds() -> impl TypedValueParser<Value = RoleKind> {
    PossibleValuesParser::new(RoleKind::ALL.map(RoleKind::as_str)).try_map(|name| {
        let mut all = RoleKind::ALL.into_iter();
        all.find(|kind| kind.as_str() == name)
            .ok_or("unknown kind of role")
    })
}

pub(crate) async fn run(args: RolesArgs, context: &Context) -> Result<(), Problem> {
    let config = context.config(Vec::new())?;
    let (Some(kind), Some(role)) = (args.kind, &args.role) else {
        let store = database::open(context, &config).await?;
        let rows = rows(&store.roles().await?, store.now().await?);
        return context.out.rows(&rows);
    };
    let word = kind.as_str();
    if args.sql {
        let store = database::open(context, &config).await?;
        let statements = store.role_sql(kind, role, args.revoke).await?;
        return context.out.raw(&format!("{};\n", statements.join(";\n")));
    }
    context.writing(&config)?;
    let store = database::open(context, &config).await?;
    if args.revoke {
        match store.revoke_role(kind, role).await? {
            true => context.note(format!("revoked {word} from {role}")),
            false => context.note(format!("{role} did not have {word}")),
        }
        return Ok(());
    }
    let missing = store.grant_role(kind, role).await?;
    context.note(format!("granted {word} to {role}"));
    if let Some(missing) = missing {
        context.warn(missing);
    }
    Ok(())
}

fn rows(all: &[RoleRow], now: Timestamp) -> Rows {
    let mut rows = Rows::new("pgtq.roles/v1", &["kind", "role", "granted"]);
    for one in all {
        let json = serde_json::json!({
            "kind": one.kind, "role": one.role, "granted_at": one.granted_at,
        });
        let cells = vec![
            one.kind.as_str().into(),
            one.role.as_str().into(),
            Cell::time(Some(one.granted_at), now),
        ];
        rows.push(one.role.as_str(), cells, json);
    }
    rows
}
