-- Caller: Store::cancel, Store::retry, Store::delete. The stored, compressed size of each of
-- these tasks that waits or has ended. The values themselves are not read. Indexes:
-- scheduled_tasks_pkey, history_pkey, and those of find_runnable.
SELECT s.id, pg_column_size(s.args)::bigint AS bytes
FROM {{schema}}.scheduled_tasks AS s
WHERE s.id = ANY ($1::bigint[])
UNION ALL
SELECT r.id, pg_column_size(r.args)
FROM {{schema}}.runnable_tasks AS r
WHERE r.ctid = ANY (ARRAY(SELECT {{schema}}.find_runnable($1)))
UNION ALL
SELECT h.id, pg_column_size(h.args) + coalesce(pg_column_size(h.result), 0) + coalesce(pg_column_size(h.logs), 0)
             + coalesce(pg_column_size(h.error_details), 0)
FROM {{schema}}.history AS h
WHERE h.id = ANY ($1)
