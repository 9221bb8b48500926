-- Caller: Store::server. How the server is; nothing that a plain user may not ask.
-- One row.
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
       (SELECT s.setting::float8 / 1000 FROM pg_settings AS s WHERE s.name = 'lock_timeout') AS lock_timeout,
       extract(epoch FROM clock_timestamp())::float8 AS clock
