-- Caller: Store::bench_facts. One row for each setting that a figure depends on.
SELECT name, current_setting(name) AS value
FROM unnest(ARRAY['server_version', 'fsync', 'synchronous_commit', 'wal_level', 'full_page_writes',
                  'shared_buffers', 'max_wal_size', 'autovacuum']) AS s (name)
