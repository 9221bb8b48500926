//! The privileges of each kind of user, and that they are sufficient for its work.

use crate::connect::config::DatabaseConfig;
use crate::connect::connection::Store;
use crate::testdb::*;
use crate::verbs::roles::RoleKind;
use pgtq_task::{State, Transition};

/// A role of this kind, and a separate store that logs in as it.
pub(super) async fn user(store: &Store, kind: RoleKind) -> Store {
    let role = format!("{}_{}", store.config().schema, kind.as_str());
    let create = format!("CREATE ROLE {role} LOGIN");
    psql(store).await.batch_execute(&create).await.expect(&role);
    store.grant_role(kind, &role).await.expect("granted");
    log_in(store, &role).await
}

pub(super) async fn log_in(store: &Store, role: &str) -> Store {
    let mut config: DatabaseConfig = store.config().clone();
    config.postgres.user(role);
    Store::connect(config).await.expect("log in")
}

/// Whether the server denies it; an object in a schema without USAGE counts as missing.
async fn denied(client: &tokio_postgres::Client, sql: &str) -> bool {
    let error = client.batch_execute(sql).await.expect_err(sql);
    let code = error.code().expect("the server's").code();
    assert!(
        ["42501", "42P01", "42883"].contains(&code),
        "{sql}: {error:?}"
    );
    true
}

#[tokio::test]
async fn a_whole_task_life_works_with_least_privileges() {
    let owner = store().await;
    let pusher = user(&owner, RoleKind::Pusher).await;
    let runner = user(&owner, RoleKind::Runner).await;
    let viewer = user(&owner, RoleKind::Viewer).await;
    let admin = user(&owner, RoleKind::Admin).await;
    let deployer = user(&owner, RoleKind::Deployer).await;

    let mut works = TestRunner::new(&runner, &["a"]).await;
    works
        .store
        .publish_handlers(works.id, &[])
        .await
        .expect("publish");
    let mut keyed = new_task("a");
    keyed.key = Some("k".into());
    let tasks = [keyed.clone(), new_task("a"), new_task("a"), new_task("a")];
    let pushed = pusher.push(&tasks).await.expect("push");
    let again = pusher.push(&[keyed]).await.expect("push");
    assert!(again[0].existed && again[0].id == pushed[0].id);
    pusher.check_schema().await.expect("the version");
    pusher.handlers().await.expect("handlers");
    let sql = psql(&pusher).await;
    sql.batch_execute(
        "SELECT push('a', '{}'::json, delay => '1 day'); SELECT push('a', '{}'::jsonb);
         SELECT push_many('[{\"handler\": \"a\"}]'); SELECT push_many('a', ARRAY['{}'::json])",
    )
    .await
    .expect("every form of push");

    let mut endings = works.claim(4).await;
    assert_eq!(endings.len(), 4);
    let beat = works.store.beat(works.id, &Default::default()).await;
    beat.expect("beat");
    works
        .store
        .isolate(works.id, endings[3].claim, endings[3].task.id)
        .await
        .expect("isolate");
    endings.pop();
    endings[1].transition = Transition::Release;
    endings[2].transition = Transition::Snooze {
        delay: std::time::Duration::from_secs(3600),
    };
    works
        .store
        .finish(works.id, &endings, false)
        .await
        .expect("finish");
    works.store.request_wake(None).await.expect("ask");
    works.store.promote(10).await.expect("promote");
    works.store.rescue().await.expect("rescue");
    works.store.stats().await.expect("stats");
    let week = std::time::Duration::from_secs(7 * 86_400);
    let today = "to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM_DD')";
    let client = psql(&owner).await;
    let drop = ask(
        &client,
        &format!("SELECT 'DROP TABLE attempts_' || to_char(now() AT TIME ZONE 'UTC' + interval '3 days', 'YYYY_MM_DD') WHERE {today} IS NOT NULL"),
    )
    .await;
    client.batch_execute(&drop).await.expect("drop");
    let pruned = works.store.prune(week).await.expect("prune");
    assert_eq!(pruned.created, 1, "a runner makes partitions");

    assert_eq!(viewer.stats().await.expect("stats").running, 1);
    let done = viewer.task(pushed[0].id).await.expect("task");
    assert_eq!(done.expect("there").task.state, State::Complete);
    viewer.queues().await.expect("queues");
    viewer.runners().await.expect("runners");
    deployer.runners().await.expect("runners");
    viewer.workers().await.expect("workers");
    deployer.workers().await.expect("workers");
    deployer.handlers().await.expect("handlers");
    admin.cancel(&[pushed[2].id]).await.expect("cancel");
    admin.retry(&[pushed[2].id]).await.expect("retry");
    admin.delete(&[pushed[2].id]).await.expect("delete");
    admin.pause_queue(&name("q")).await.expect("pause");
    admin.resume_queue(&name("q")).await.expect("resume");
    admin.drain("nobody").await.expect("drain");
    admin.prune(week).await.expect("prune");
    works.store.retire(works.id).await.expect("retire");
    assert_eq!(viewer.stats().await.expect("stats").running, 0);
}

#[tokio::test]
async fn a_pusher_reads_nothing_and_a_viewer_changes_nothing() {
    let owner = store().await;
    let pusher = psql(&user(&owner, RoleKind::Pusher).await).await;
    let viewer = psql(&user(&owner, RoleKind::Viewer).await).await;
    let worker = psql(&user(&owner, RoleKind::Worker).await).await;
    let runner = psql(&user(&owner, RoleKind::Runner).await).await;
    ask(&pusher, "SELECT push('a', '[\"mine\"]')").await;
    for sql in [
        "SELECT args FROM tasks",
        "SELECT * FROM runnable_tasks",
        "SELECT * FROM keys",
        "SELECT * FROM history",
        "SELECT * FROM runners",
        "SELECT result(1)",
        "SELECT pop()",
        "SELECT cancel(1)",
        "INSERT INTO runnable_tasks (queue, handler, priority, position, id, args) VALUES ('q', 'a', 0, 1, 1, '{}')",
        "SELECT nextval('task_ids')",
        "SELECT grant_role('admin', 'x')",
    ] {
        denied(&pusher, sql).await;
    }
    for sql in [
        "SELECT push('a')",
        "SELECT cancel(1)",
        "SELECT pause('q')",
        "DELETE FROM history",
        "UPDATE runners SET draining = true",
        "SELECT * FROM runnable_tasks FOR UPDATE",
        "SELECT * FROM keys",
    ] {
        denied(&viewer, sql).await;
    }
    let token = ask(&worker, "SELECT token FROM pop()").await;
    denied(&viewer, "SELECT token FROM popped").await;
    denied(&runner, "SELECT token FROM popped").await;
    let complete = format!("SELECT complete(1, '{token}')");
    assert_eq!(ask(&worker, &complete).await, "t");
    for sql in [
        "SELECT push('a')",
        "SELECT * FROM claims",
        "SELECT * FROM popped",
        "SELECT rescue()",
    ] {
        denied(&worker, sql).await;
    }
    for sql in [
        "CREATE TABLE mine (id int)",
        "DROP TABLE history",
        "TRUNCATE history",
        "UPDATE history SET state = 'failed'",
        "DELETE FROM history",
        "UPDATE migrations SET version = 1",
        "SELECT grant_role('admin', 'x')",
    ] {
        denied(&runner, sql).await;
    }
}

#[tokio::test]
async fn a_privilege_of_two_kinds_stays_until_both_are_revoked() {
    let owner = store().await;
    let client = psql(&owner).await;
    let role = format!("{}_both", owner.config().schema);
    let create = format!("CREATE ROLE {role} LOGIN");
    client.batch_execute(&create).await.expect("a role");
    for kind in [RoleKind::Pusher, RoleKind::Runner, RoleKind::Runner] {
        owner.grant_role(kind, &role).await.expect("granted");
    }
    let sql = psql(&log_in(&owner, &role).await).await;
    let kinds: Vec<String> = owner
        .roles()
        .await
        .expect("roles")
        .into_iter()
        .map(|row| row.kind)
        .collect();
    assert_eq!(kinds, ["pusher", "runner"]);
    assert!(
        owner
            .revoke_role(RoleKind::Runner, &role)
            .await
            .expect("revoked")
    );
    assert!(
        !owner
            .revoke_role(RoleKind::Runner, &role)
            .await
            .expect("again")
    );
    ask(&sql, "SELECT push('a')").await;
    denied(&sql, "SELECT * FROM claims").await;
    assert!(
        owner
            .revoke_role(RoleKind::Pusher, &role)
            .await
            .expect("revoked")
    );
    denied(&sql, "SELECT push('a')").await;
    // Nothing is left that would keep the role from being dropped.
    client
        .batch_execute(&format!("DROP ROLE {role}"))
        .await
        .expect("dropped");
}

#[tokio::test]
async fn an_admin_migrates_and_grants_if_the_owner_is_not_a_superuser() {
    let first = Store::connect(config()).await.expect("connect");
    let schema = first.config().schema.to_string();
    let server = psql(&first).await;
    server
        .batch_execute(&format!(
            "CREATE ROLE {schema}_owner LOGIN; CREATE ROLE {schema}_boss LOGIN; CREATE ROLE {schema}_app LOGIN;
             CREATE SCHEMA {schema} AUTHORIZATION {schema}_owner"
        ))
        .await
        .expect("roles");
    let owner = log_in(&first, &format!("{schema}_owner")).await;
    owner
        .migrate()
        .await
        .expect("migrate as an owner without superuser");
    let given = first
        .grant_role(RoleKind::Admin, &format!("{schema}_boss"))
        .await;
    assert_eq!(given.expect("granted"), None);
    let boss = log_in(&first, &format!("{schema}_boss")).await;
    boss.grant_role(RoleKind::Pusher, &format!("{schema}_app"))
        .await
        .expect("an admin grants");
    psql(&boss)
        .await
        .batch_execute("CREATE TABLE later (id int)")
        .await
        .expect("an admin migrates");
    let app = log_in(&first, &format!("{schema}_app")).await;
    app.push(&[new_task("a")]).await.expect("push");
    assert!(
        app.grant_role(RoleKind::Admin, &format!("{schema}_app"))
            .await
            .is_err()
    );
    // For a superuser's schema: everything but that, and it is reported.
    let other = store().await;
    let name = format!("{}_boss", other.config().schema);
    server
        .batch_execute(&format!("CREATE ROLE {name}"))
        .await
        .expect("a role");
    let missing = other
        .grant_role(RoleKind::Admin, &name)
        .await
        .expect("granted");
    assert!(
        missing
            .expect("a list of missing privileges")
            .contains("neither migrate nor grant")
    );
}

#[tokio::test]
async fn wrong_kinds_and_roles_are_rejected_with_a_hint() {
    let store = store().await;
    let client = psql(&store).await;
    for (sql, hint) in [
        ("SELECT grant_role('god', 'x')", "pusher, worker, viewer"),
        (
            "SELECT grant_role('pusher', 'nobody_at_all')",
            "CREATE ROLE",
        ),
        ("SELECT grant_role('pusher', current_user)", "another role"),
        ("SELECT grant_role(NULL, NULL)", "pusher"),
        (
            "SELECT revoke_role('pusher', '\"; DROP TABLE history; --')",
            "CREATE ROLE",
        ),
    ] {
        let error = client.batch_execute(sql).await.expect_err(sql);
        let db = error.as_db_error().expect("the server's");
        assert!(db.hint().unwrap_or("").contains(hint), "{sql}: {db:?}");
    }
}

/// Everything in the schema, and the privileges of each kind on it.
#[tokio::test]
async fn every_object_has_its_golden_privileges() {
    let store = store().await;
    for kind in RoleKind::ALL {
        user(&store, kind).await;
    }
    let client = psql(&store).await;
    let schema = store.config().schema.to_string();
    // From the catalogue, not from our list.
    let text = ask(
        &client,
        &format!(
            "WITH object AS (
                SELECT 'function' AS class, replace(p.oid::regprocedure::text, '{schema}.', '') || CASE WHEN p.prosecdef THEN ' (owner''s rights)' ELSE '' END AS name,
                       p.proacl AS acl, p.proowner AS owner, 'f'::\"char\" AS type
                FROM pg_proc AS p WHERE p.pronamespace = '{schema}'::regnamespace
                UNION ALL
                SELECT CASE c.relkind WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' ELSE 'table' END, c.relname, c.relacl, c.relowner,
                       CASE c.relkind WHEN 'S' THEN 's'::\"char\" ELSE 'r'::\"char\" END
                FROM pg_class AS c
                WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND NOT c.relispartition
                UNION ALL
                SELECT 'column', c.relname || '.' || a.attname, a.attacl, c.relowner, 'r'::\"char\"
                FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
                WHERE c.relnamespace = '{schema}'::regnamespace AND a.attacl IS NOT NULL
                UNION ALL
                SELECT 'schema', 'pgtq', n.nspacl, n.nspowner, 'n'::\"char\" FROM pg_namespace AS n WHERE n.nspname = '{schema}'
            ), held AS (
                SELECT o.class, o.name, CASE WHEN e.grantee = 0 THEN 'PUBLIC' ELSE replace(e.grantee::regrole::text, '{schema}_', '') END AS who,
                       string_agg(e.privilege_type, ' ' ORDER BY e.privilege_type) AS what
                FROM object AS o CROSS JOIN LATERAL aclexplode(coalesce(o.acl, acldefault(o.type, o.owner))) AS e
                WHERE e.grantee <> o.owner GROUP BY 1, 2, 3
            )
            SELECT string_agg(line, E'\\n' ORDER BY line COLLATE \"C\") FROM (
                SELECT o.class || ' ' || o.name || ':' || coalesce((
                    SELECT string_agg(' ' || h.who || CASE WHEN h.what = 'EXECUTE' THEN '' ELSE '(' || h.what || ')' END, '' ORDER BY h.who)
                    FROM held AS h WHERE h.class = o.class AND h.name = o.name), ' -') AS line
                FROM object AS o) AS s"
        ),
    )
    .await;
    assert!(!text.contains("PUBLIC"), "{text}");
    golden("rights.txt", &text);
    // Every object on the list exists; otherwise its grant would be skipped silently.
    let lost = ask(
        &client,
        "SELECT string_agg(r.object, ', ') FROM role_privileges AS r WHERE CASE r.class
             WHEN 'function' THEN NOT EXISTS (SELECT FROM pg_proc AS p WHERE p.proname = r.object AND p.pronamespace = current_schema()::regnamespace)
             ELSE to_regclass(r.object) IS NULL END",
    )
    .await;
    assert_eq!(lost, "null");
}

#[tokio::test]
async fn a_later_migration_grants_new_privileges_to_existing_roles() {
    let store = store().await;
    let pusher = psql(&user(&store, RoleKind::Pusher).await).await;
    let client = psql(&store).await;
    client
        .batch_execute(
            "INSERT INTO role_grants VALUES ('viewer', 'a_role_that_was_dropped');
             CREATE TABLE later (id int); INSERT INTO role_privileges VALUES ('pusher', 'table', 'later', 'SELECT')",
        )
        .await
        .expect("a migration");
    denied(&pusher, "SELECT * FROM later").await;
    client
        .batch_execute("SELECT apply_rights()")
        .await
        .expect("applied");
    pusher
        .batch_execute("SELECT * FROM later")
        .await
        .expect("granted");
    assert_eq!(ask(&client, "SELECT count(*) FROM role_grants").await, "1");
}
