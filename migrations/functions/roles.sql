-- Roles: the privileges of each kind, in one list, and the functions that grant them.
-- After every migration the program grants the privileges on the list to the roles that
-- grant_role knows. A privilege that is removed from the list stays granted until a
-- numbered file revokes it.

DELETE FROM {{schema}}.role_privileges;
INSERT INTO {{schema}}.role_privileges (kind, class, object, privilege)
SELECT DISTINCT k.kind, r.class, o.object, p.privilege
FROM (VALUES
    -- Kinds, class, objects, privileges. Every kind can read the version.
    ('pusher worker viewer runner deployer admin', 'table', 'migrations function_files', 'SELECT'),

    ('pusher runner admin', 'function', 'push push_task push_many push_arrays find', 'EXECUTE'),
    -- To check arguments before they are pushed.
    ('pusher', 'table', 'handlers pauses', 'SELECT'),
    ('pusher', 'table', 'runners', 'SELECT (id, expires_at)'),

    ('worker admin', 'function', 'pop complete complete_many fail fail_many release extend extend_many log progress tend request_wake', 'EXECUTE'),

    ('viewer runner admin', 'table', 'scheduled runnable running complete failed cancelled tasks queue_stats live_logs progress in_flight workers', 'SELECT'),
    ('viewer runner admin', 'table', 'scheduled_tasks runnable_tasks history attempts runners handlers pauses cancellations log_lines', 'SELECT'),
    ('viewer runner admin', 'function', 'result demand get find find_runnable scan_runnable', 'EXECUTE'),

    -- A deployment writes to the plugin directory; here it reads which runners have loaded
    -- the file, and the state of tasks.
    ('deployer', 'table', 'handlers runners workers pauses progress tasks scheduled runnable running complete failed cancelled', 'SELECT'),

    ('runner', 'function', 'push_rows need_read_committed wake request_wake promote tend rescue take_back judge_runner count_crashes withdraw_crashes crash_wait server_is_settled witnessed_since retries_forever unreadable_tasks note_unreadable stored_bytes first_bytes release_claims cancel_tasks prune prune_state make_partitions', 'EXECUTE'),
    ('runner', 'sequence', 'task_ids claim_ids runner_ids', 'USAGE'),
    ('runner', 'table', 'runnable_tasks scheduled_tasks claims runners handlers task_state', 'SELECT INSERT UPDATE DELETE'),
    ('runner', 'table', 'cancellations', 'SELECT UPDATE DELETE'),
    ('runner', 'table', 'log_lines', 'SELECT INSERT DELETE'),
    ('runner', 'table', 'history attempts crash_reports', 'SELECT INSERT'),
    ('runner admin', 'table', 'popped', 'SELECT (task_id, claim_id)'),

    ('admin', 'function', 'cancel cancel_tasks retry retry_tasks delete_tasks reschedule reprioritise move edit purge pause resume drain prune prune_state', 'EXECUTE'),
    ('admin', 'table', 'log_lines', 'DELETE'),
    ('admin', 'table', 'claims role_privileges role_grants', 'SELECT')
) AS r (kinds, class, objects, privileges)
CROSS JOIN LATERAL unnest(string_to_array(r.kinds, ' ')) AS k (kind)
CROSS JOIN LATERAL unnest(string_to_array(r.objects, ' ')) AS o (object)
CROSS JOIN LATERAL unnest(CASE WHEN r.privileges LIKE '%(%' THEN ARRAY[r.privileges] ELSE string_to_array(r.privileges, ' ') END)
    AS p (privilege);

-- Each privilege as a statement, and membership in the schema's owner for an admin,
-- because only the owner can migrate. Members of a superuser would be superusers.
CREATE OR REPLACE FUNCTION {{schema}}.role_sql(kind text, role text, take boolean DEFAULT false) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    form text := CASE WHEN role_sql.take THEN 'REVOKE %s ON %s FROM %I' ELSE 'GRANT %s ON %s TO %I' END;
    -- Keeps the privileges that another kind of the same role needs.
    kept text[] := CASE WHEN role_sql.take THEN ARRAY(
        SELECT g.kind FROM {{schema}}.role_grants AS g WHERE g.role = role_sql.role::name AND g.kind <> role_sql.kind) ELSE '{}' END;
    owner name := (SELECT pg_get_userbyid(n.nspowner) FROM pg_namespace AS n WHERE n.oid = '{{schema}}'::regnamespace);
BEGIN
    IF NOT EXISTS (SELECT FROM {{schema}}.role_privileges AS r WHERE r.kind = role_sql.kind) THEN
        RAISE EXCEPTION '% is not a kind of role', coalesce(quote_literal(left(role_sql.kind, 60)), 'null')
            USING ERRCODE = '22023', HINT = 'it is one of pusher, worker, viewer, runner, deployer, admin';
    ELSIF NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = role_sql.role) THEN
        RAISE EXCEPTION 'there is no role %', coalesce(quote_literal(left(role_sql.role, 63)), 'null')
            USING ERRCODE = '22023', HINT = 'make it first: CREATE ROLE name LOGIN PASSWORD ''...''';
    ELSIF owner = role_sql.role THEN
        RAISE EXCEPTION '% owns the schema and may do everything', quote_literal(owner)
            USING ERRCODE = '22023', HINT = 'name another role';
    END IF;
    IF NOT role_sql.take OR kept = '{}' THEN
        RETURN NEXT format(form, 'USAGE', 'SCHEMA {{schema}}', role_sql.role);
    END IF;
    RETURN QUERY
        SELECT format(form, string_agg(o.privilege, ', ' ORDER BY o.privilege), o.target, role_sql.role)
        FROM (
            SELECT r.privilege, CASE r.class
                WHEN 'table' THEN format('TABLE {{schema}}.%I', r.object)
                WHEN 'sequence' THEN format('SEQUENCE {{schema}}.%I', r.object)
                ELSE format('FUNCTION {{schema}}.%I(%s)', p.proname, pg_get_function_identity_arguments(p.oid)) END AS target
            FROM {{schema}}.role_privileges AS r
            LEFT JOIN pg_proc AS p
                ON r.class = 'function' AND p.proname = r.object AND p.pronamespace = '{{schema}}'::regnamespace
            WHERE r.kind = role_sql.kind AND (r.class <> 'function' OR p.oid IS NOT NULL)
              AND NOT EXISTS (
                SELECT FROM {{schema}}.role_privileges AS other
                WHERE other.kind = ANY (kept)
                  AND (other.class, other.object, other.privilege) = (r.class, r.object, r.privilege))
        ) AS o
        GROUP BY o.target ORDER BY o.target;
    IF role_sql.kind = 'admin' AND NOT (SELECT r.rolsuper FROM pg_roles AS r WHERE r.rolname = owner) THEN
        RETURN NEXT format(CASE WHEN role_sql.take THEN 'REVOKE %I FROM %I' ELSE 'GRANT %I TO %I' END, owner, role_sql.role);
    END IF;
END $$;
COMMENT ON FUNCTION {{schema}}.role_sql(text, text, boolean)
    IS 'The statements that grant this kind to a role, or revoke it.';

-- These two run with the caller's privileges, so only a role that can grant by hand can
-- grant here.
CREATE OR REPLACE FUNCTION {{schema}}.grant_role(kind text, role text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    one text;
    owner record;
BEGIN
    FOR one IN SELECT s FROM {{schema}}.role_sql(grant_role.kind, grant_role.role) AS s LOOP
        EXECUTE one;
    END LOOP;
    INSERT INTO {{schema}}.role_grants AS g (kind, role) VALUES (grant_role.kind, grant_role.role::name) ON CONFLICT DO NOTHING;
    SELECT r.rolname, r.rolsuper INTO owner FROM pg_namespace AS n JOIN pg_roles AS r ON r.oid = n.nspowner
    WHERE n.oid = '{{schema}}'::regnamespace;
    IF grant_role.kind = 'admin' AND owner.rolsuper THEN
        RETURN format('%I may operate, but neither migrate nor grant: the schema belongs to the superuser %I', grant_role.role, owner.rolname);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION {{schema}}.grant_role(text, text)
    IS 'Makes a role a pusher, worker, viewer, runner, deployer or admin; can be repeated. Returns what it could not grant, or null.';

CREATE OR REPLACE FUNCTION {{schema}}.revoke_role(kind text, role text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    one text;
BEGIN
    FOR one IN SELECT s FROM {{schema}}.role_sql(revoke_role.kind, revoke_role.role, true) AS s LOOP
        EXECUTE one;
    END LOOP;
    DELETE FROM {{schema}}.role_grants AS g WHERE g.kind = revoke_role.kind AND g.role = revoke_role.role::name;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION {{schema}}.revoke_role(text, text)
    IS 'Revokes what grant_role granted, except privileges that another kind of the same role needs. False: the role did not have this kind.';

-- Does not grant membership in the owner again: this needs the admin option, which the
-- migrating role may lack. Removes roles that lost USAGE of the schema, that were
-- dropped, or that have become the owner from the list.
CREATE OR REPLACE FUNCTION {{schema}}.apply_rights() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    one record;
BEGIN
    DELETE FROM {{schema}}.role_grants AS g
    WHERE NOT EXISTS (
        SELECT FROM pg_roles AS r
        WHERE r.rolname = g.role AND has_schema_privilege(r.oid, '{{schema}}'::regnamespace, 'USAGE')
          AND r.oid <> (SELECT n.nspowner FROM pg_namespace AS n WHERE n.oid = '{{schema}}'::regnamespace));
    FOR one IN
        SELECT s.sql FROM {{schema}}.role_grants AS g CROSS JOIN LATERAL {{schema}}.role_sql(g.kind, g.role::text) AS s (sql)
        WHERE s.sql LIKE 'GRANT % ON %' ORDER BY g.kind, g.role
    LOOP
        EXECUTE one.sql;
    END LOOP;
END $$;
COMMENT ON FUNCTION {{schema}}.apply_rights() IS 'Grants every role the privileges of its kinds again. Called by migrations.';
