-- Caller: store/attempt, once for each connection. One row: why handlers' SQL must not run as
-- this role, or null. The privileges of every role that it could become by SET ROLE count as its
-- own.
WITH mine AS (
    SELECT r.oid, r.rolname, r.rolsuper, r.rolcreaterole, r.rolbypassrls, r.rolreplication
    FROM pg_catalog.pg_roles AS r
    WHERE r.rolname = session_user OR pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')
), home AS (
    SELECT n.oid, n.nspowner FROM pg_catalog.pg_namespace AS n WHERE n.nspname = $2::text
), rights AS (
    SELECT c.relname
    FROM mine AS m, home AS h, pg_catalog.pg_class AS c
    WHERE c.relnamespace = h.oid
      AND CASE WHEN c.relkind IN ('r', 'p', 'v', 'm') THEN
              pg_catalog.has_table_privilege(m.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
              OR pg_catalog.has_any_column_privilege(m.oid, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
          WHEN c.relkind = 'S' THEN pg_catalog.has_sequence_privilege(m.oid, c.oid, 'SELECT, USAGE, UPDATE')
          ELSE false END
)
SELECT CASE
    WHEN session_user <> $1::text THEN 'the server takes it for ' || session_user
    WHEN EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = session_user AND rolsuper) THEN 'it is a superuser'
    WHEN pg_catalog.pg_has_role(session_user, (SELECT nspowner FROM home), 'MEMBER') THEN 'it is a member of the owner of the queue'
    WHEN EXISTS (SELECT FROM mine WHERE rolsuper) THEN 'it is a member of a superuser'
    WHEN EXISTS (SELECT FROM mine WHERE rolcreaterole) THEN 'it may create roles'
    WHEN EXISTS (SELECT FROM mine WHERE rolreplication) THEN 'it may replicate the database'
    WHEN EXISTS (SELECT FROM mine WHERE rolbypassrls) THEN 'it may bypass row security'
    WHEN EXISTS (SELECT FROM mine WHERE rolname IN ('pg_read_all_data', 'pg_write_all_data', 'pg_execute_server_program',
                                                    'pg_read_server_files', 'pg_write_server_files', 'pg_signal_backend',
                                                    'pg_maintain'))
        THEN 'it is a member of ' || (SELECT min(rolname) FROM mine WHERE rolname LIKE 'pg\_%')
    WHEN EXISTS (SELECT FROM mine AS m, home AS h WHERE pg_catalog.has_schema_privilege(m.oid, h.oid, 'CREATE'))
        THEN 'it may create objects in the schema of the queue'
    WHEN EXISTS (SELECT FROM rights) 
        THEN 'it has rights on tables of the queue''s schema, on ' || (SELECT min(relname) FROM rights)
             || ' for one: revoke them, or move what is yours into another schema'
    WHEN NOT EXISTS (SELECT FROM home AS h WHERE pg_catalog.has_schema_privilege(session_user, h.oid, 'USAGE'))
      OR EXISTS (
        SELECT FROM home AS h, pg_catalog.pg_proc AS p
        WHERE p.pronamespace = h.oid AND p.proname IN ('complete_in_task', 'checkpoint_in_task', 'save_in_task')
          AND NOT pg_catalog.has_function_privilege(session_user, p.oid, 'EXECUTE'))
        THEN 'it was not allowed to end tasks: run SELECT ' || $2 || '.allow_sql(' || pg_catalog.quote_literal($1) || ')'
END AS trouble
