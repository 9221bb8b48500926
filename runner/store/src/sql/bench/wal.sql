-- Caller: Store::bench_wal. Bytes of WAL written since this server was made.
SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint AS bytes
