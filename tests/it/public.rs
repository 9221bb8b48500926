//! A database with few privileges for `PUBLIC`, as docs/sql.md recommends.

use pgtq_task::SqlGrant;
use pgtq_tests::{Database, repository, wait_until_async};

use crate::exactly_once::blocking;
use crate::native::{Engine, grant, leaf, registry_of};

#[tokio::test(flavor = "multi_thread")]
async fn handler_sql_works_without_the_privileges_of_public() {
    let database = Database::migrated();
    let (sql, role, _) = blocking(database.url()).await;
    let docs = std::fs::read_to_string(repository().join("docs/sql.md")).expect("the docs");
    let (_, rest) = docs
        .split_once("untrusted plugins, revoke this as a superuser")
        .expect("the advice");
    let (_, rest) = rest.split_once("```sql\n").expect("a block");
    let (block, _) = rest.split_once("```").expect("its end");
    sql.row(block).await;
    let left = "SELECT string_agg(DISTINCT p.proname, ' ' ORDER BY p.proname) FROM pg_proc AS p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND has_function_privilege('public', p.oid, 'EXECUTE')
          AND (p.proname ~ 'advisory|^lo_?|notify$|^pg_(terminate|cancel)_backend|emit_message') AND p.proname !~ '^(log|lower|lo_get|lo_close|lo_lseek|lo_tell|lo_trunc|lo_unlink|loread)'";
    assert_eq!(
        sql.row(left).await,
        "pg_advisory_unlock pg_advisory_unlock_all pg_advisory_unlock_shared"
    );
    // At most one connection: the next attempt waits until it is reset.
    let grant = SqlGrant {
        connections: 1,
        ..grant(&role)
    };
    let registry = registry_of(&grant, &[("leaf", leaf)]);
    let engine = Engine::start(database.url(), registry).await;
    let mut backends = Vec::new();
    for n in 1..=3 {
        sql.row("SELECT pgtq.push('leaf', retries => 0)").await;
        let ended = "SELECT count(*), count(*) FILTER (WHERE state = 'complete') FROM pgtq.history";
        wait_until_async("it has ended", || async {
            sql.row(ended).await == format!("{n}|{n}")
        })
        .await;
        let mine = format!(
            "SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE usename = '{role}'"
        );
        backends.push(sql.row(&mine).await);
    }
    // The connection was reset and reused: all three attempts used the same one.
    assert_eq!(backends, vec![backends[0].clone(); 3]);
    assert!(backends[0].parse::<u32>().is_ok(), "{backends:?}");
    engine.stop().await;
}
