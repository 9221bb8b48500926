-- Caller: Store::queues. Counts everything.
SELECT queue::text AS queue, paused_at, scheduled, runnable, running, complete_hour, failed_hour, oldest_runnable_seconds
FROM {{schema}}.queue_stats
ORDER BY queue
