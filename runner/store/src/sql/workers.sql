-- Caller: Store::workers. Reads the sessions of workers and the tasks that they hold.
SELECT w.name, w.role, w.sessions, w.queues, w.running, w.seen_at, extract(epoch FROM now() - w.seen_at)::float8 AS seen_seconds,
       extract(epoch FROM now() - w.next_expires_at)::float8 AS overdue_seconds
FROM {{schema}}.workers AS w
ORDER BY w.name
LIMIT 1000
