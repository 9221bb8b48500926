-- Caller: Store::server. The state of the server; reads only what any role may read. One row.
-- The reset value of a setting that pgtq changes is its default.
SELECT pg_is_in_recovery() AS standby,
       current_setting('transaction_read_only') = 'on' AS read_only,
       current_setting('max_connections')::bigint
           - current_setting('superuser_reserved_connections')::bigint AS most_connections,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
       (SELECT r.rolconnlimit::bigint FROM pg_roles AS r WHERE r.rolname = current_user) AS most_of_role,
       (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user) AS connections_of_role,
       (SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock') AS waiting,
       (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - a.xact_start)), 0)::float8
        FROM pg_stat_activity AS a
        WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()) AS oldest,
       current_setting('server_encoding') AS encoding,
       current_setting('session_replication_role') AS replication_role,
       (SELECT s.reset_val FROM pg_settings AS s WHERE s.name = 'default_transaction_isolation') AS isolation,
       ARRAY(SELECT c.relname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE n.nspname = $1::text AND c.relrowsecurity AND c.relkind IN ('r', 'p')
               AND (c.relforcerowsecurity OR NOT pg_has_role(c.relowner, 'USAGE'))
               AND NOT (SELECT r.rolsuper OR r.rolbypassrls FROM pg_roles AS r WHERE r.rolname = current_user)
             ORDER BY 1) AS row_security,
       (SELECT s.reset_val::float8 / 1000 FROM pg_settings AS s WHERE s.name = 'lock_timeout') AS lock_timeout,
       extract(epoch FROM clock_timestamp())::float8 AS clock
