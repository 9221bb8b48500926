//! A less privileged role shadows objects of the schema with its own, and calls every function
//! that it may: none of its code may run with another role's privileges.

use crate::connect::connection::Store;
use crate::testdb::*;
use crate::verbs::roles::RoleKind;

/// Calls of all functions that less privileged roles may call, by kind.
const CALLS: &[(RoleKind, &[&str])] = &[
    (
        RoleKind::Pusher,
        &[
            "push('a', '{}'::text, key => 'k' || random())",
            "push('a', '{}'::json, delay => '1 hour')",
            "push('a', '{}'::jsonb, run_at => now())",
            "push_many('[{\"handler\": \"a\", \"key\": \"m\"}]'::json)",
            "push_many('a', ARRAY['{}'::json])",
            "push_many('a', ARRAY['{}'::jsonb])",
            "push_many('[{\"handler\": \"a\"}]'::jsonb)",
            "push_many('[{\"handler\": \"a\"}]'::text)",
            "push_task('a', key => 'k' || random(), key_ttl => '1 hour')",
            "push_task('a', '[1]'::json, key => 'same', on_conflict => 'replace')",
            "push_task('a', '[1]'::jsonb, key => 'same', on_conflict => 'replace')",
            "find('k')",
            "push_arrays(ARRAY['a'], ARRAY['{}'], ARRAY['q'], ARRAY[0], ARRAY[NULL::interval], ARRAY[NULL::timestamptz], ARRAY[NULL::int], ARRAY['r'])",
        ],
    ),
    (
        RoleKind::Worker,
        &[
            "pop(n => 2)",
            "complete(1, '00000000-0000-0000-0000-000000000000')",
            "complete_many('{1}', ARRAY[gen_random_uuid()])",
            "fail(2, '00000000-0000-0000-0000-000000000000', 'no')",
            "fail_many('{1}', ARRAY[gen_random_uuid()], '{no}')",
            "release(1, '00000000-0000-0000-0000-000000000000')",
            "extend(1, '00000000-0000-0000-0000-000000000000')",
            "extend_many('{1}', ARRAY[gen_random_uuid()])",
            "log(1, '00000000-0000-0000-0000-000000000000', 'line')",
            "progress(1, '00000000-0000-0000-0000-000000000000', 0.5)",
            "tend()",
        ],
    ),
    (
        RoleKind::Viewer,
        &[
            "result(1)",
            "demand()",
            "get(1)",
            "find_runnable(ARRAY[1::bigint])",
            "scan_runnable(ARRAY[1::bigint])",
        ],
    ),
    (
        RoleKind::Runner,
        &[
            "wake()",
            "request_wake('q')",
            "push_rows(ARRAY['a'], ARRAY['{}'], ARRAY['q'], ARRAY[0], ARRAY[NULL::interval], ARRAY[NULL::timestamptz], ARRAY[NULL::int], ARRAY['r'], ARRAY[NULL::bigint])",
            "promote()",
            "tend()",
            "stored_bytes(1, '{}', '{}', 'k')",
            "note_unreadable(1, 'no')",
            "unreadable_tasks()",
            "rescue()",
            "first_bytes(ARRAY['(0,1)'::pg_catalog.tid], 1)",
            "take_back(ARRAY[1::bigint], '{}', 3)",
            "release_claims(ARRAY[1::bigint])",
            "cancel_tasks(ARRAY[1::bigint])",
            "prune('14 days')",
            "prune_state('14 days')",
            "make_partitions()",
            "need_read_committed('look')",
            "judge_runner(1)",
            "count_crashes()",
            "withdraw_crashes(1)",
            "crash_wait()",
            "server_is_settled()",
            "witnessed_since()",
            "retries_forever(1, 'a')",
        ],
    ),
    (
        RoleKind::Admin,
        &[
            "cancel(1)",
            "retry(1)",
            "retry_tasks(ARRAY[1::bigint])",
            "delete_tasks(ARRAY[1::bigint])",
            "pause(queue => 'q')",
            "resume(queue => 'q')",
            "reschedule(2, delay => '1 hour')",
            "reprioritise(2, 1)",
            "move(2, 'r')",
            "edit(2, '{}'::text)",
            "edit(2, '{}'::json)",
            "edit(2, '{}'::jsonb)",
            "purge('r')",
            "drain('x')",
        ],
    ),
];

/// The attacker's objects: tables, views and types of all the names, with triggers and rules
/// that run its code, and functions and operators like the built-in ones.
async fn trap(store: &Store, client: &tokio_postgres::Client, role: &str) {
    let owner = psql(store).await;
    let names = "SELECT string_agg(DISTINCT c.relname, ' ') FROM pg_class AS c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S') AND NOT c.relispartition";
    let names = ask(&owner, names).await;
    let mut text = format!(
        "SET search_path = pg_temp, {}, pg_catalog;
         CREATE FUNCTION pg_temp.spring() RETURNS trigger LANGUAGE plpgsql AS $t$ BEGIN
             IF current_user <> '{role}' THEN RAISE EXCEPTION 'ran as %', current_user; END IF; RETURN NEW; END $t$;
         CREATE FUNCTION pg_temp.sprung(anyelement) RETURNS boolean LANGUAGE plpgsql AS $t$ BEGIN
             IF current_user <> '{role}' THEN RAISE EXCEPTION 'ran as %', current_user; END IF; RETURN true; END $t$;",
        store.config().schema
    );
    for name in names.split(' ') {
        text.push_str(&format!(
            "CREATE TEMP TABLE {name} (id bigint, queue text, key text, task_id bigint, sleeping boolean DEFAULT true,
                 expires_at timestamptz, handler text, CHECK (pg_temp.sprung(1)));
             INSERT INTO pg_temp.{name} VALUES (1, 'default', 'k', 1, true, now() + interval '1 day', 'a');
             CREATE TRIGGER spring BEFORE INSERT OR UPDATE OR DELETE ON pg_temp.{name} FOR EACH ROW EXECUTE FUNCTION pg_temp.spring();"
        ));
    }
    for (name, arguments, result) in [
        ("now", "", "timestamptz"),
        ("nextval", "text", "bigint"),
        ("nextval", "regclass", "bigint"),
        ("pg_notify", "text, text", "void"),
        ("octet_length", "text", "integer"),
        ("isfinite", "timestamptz", "boolean"),
        ("wake", "text[]", "void"),
        ("retention", "", "interval"),
        (
            "check_task",
            "text, text, text, interval, timestamptz, integer, text",
            "void",
        ),
        ("sha256", "bytea", "bytea"),
    ] {
        text.push_str(&format!(
            "CREATE FUNCTION pg_temp.{name}({arguments}) RETURNS {result} LANGUAGE plpgsql AS $t$ BEGIN
                 RAISE EXCEPTION 'ran as %', current_user; END $t$;"
        ));
    }
    for name in ["json", "bigint_", "timestamptz", "tid", "regclass"] {
        text.push_str(&format!(
            "CREATE DOMAIN pg_temp.{name} AS text CHECK (pg_temp.sprung(VALUE));"
        ));
    }
    for operator in ["=", "<", ">", "||"] {
        text.push_str(&format!(
            "CREATE FUNCTION pg_temp.op_{n}(text, text) RETURNS boolean LANGUAGE plpgsql AS $t$ BEGIN
                 RAISE EXCEPTION 'ran as %', current_user; END $t$;
             CREATE OPERATOR pg_temp.{operator} (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_temp.op_{n});",
            n = operator.bytes().map(|b| b.to_string()).collect::<String>()
        ));
    }
    client
        .batch_execute(&text)
        .await
        .expect("create the shadowing objects");
}

#[tokio::test]
async fn shadowing_objects_never_run_with_the_owners_privileges() {
    let store = store().await;
    let owner = psql(&store).await;
    let schema = store.config().schema.to_string();
    owner
        .batch_execute("SELECT push('a'); SELECT push('a')")
        .await
        .expect("push");
    let mut called = 0;
    for (kind, calls) in CALLS {
        let role = format!("{schema}_{}", kind.as_str());
        owner
            .batch_execute(&format!("CREATE ROLE {role}"))
            .await
            .expect("a role");
        store.grant_role(*kind, &role).await.expect("granted");
        let client = psql(&store).await;
        client
            .batch_execute(&format!("SET SESSION AUTHORIZATION {role}"))
            .await
            .expect("set the role");
        trap(&store, &client, &role).await;
        for call in *calls {
            // Its own search path applies to its own statement, so the call uses a clean one.
            let sql =
                format!("SET search_path = pg_catalog, pg_temp; SELECT * FROM {schema}.{call}");
            client
                .batch_execute(&sql)
                .await
                .unwrap_or_else(|error| panic!("{call}: {error:?}"));
            // And with the shadowing objects first, as in a careless session: every failure is
            // the caller's own.
            let sql =
                format!("SET search_path = pg_temp, pg_catalog; SELECT * FROM {schema}.{call}");
            if let Err(error) = client.batch_execute(&sql).await {
                let text = error.as_db_error().map_or("", |db| db.message()).to_owned();
                assert!(
                    !text.contains("ran as") || text.contains(&role),
                    "{call}: {text}"
                );
            }
            called += 1;
        }
    }
    assert_eq!(
        called,
        CALLS.iter().map(|(_, calls)| calls.len()).sum::<usize>()
    );
    // None of the granted functions was left out.
    let functions =
        "SELECT string_agg(DISTINCT object, ' ') FROM role_privileges WHERE class = 'function'";
    let granted = ask(&owner, functions).await;
    for function in granted.split(' ') {
        let is_called = CALLS.iter().any(|(_, calls)| {
            calls
                .iter()
                .any(|call| call.starts_with(&format!("{function}(")))
        });
        assert!(is_called, "add a call of {function}");
    }
}
