-- Caller: Store::task. Indexes: attempts_task_id, history_id. The last attempt
-- of a task that is over is in its history row.
SELECT number, kind, claim_id, runner_id, error_code, error_message, error_details::text AS error_details, backtrace, logs::text AS logs, logs_dropped,
       started_at,
       ended_at, fuel, peak_memory, wall_us, encode(digest, 'hex') AS digest
FROM {{schema}}.attempts
WHERE task_id = $1::bigint AND kind <> 'deleted'
UNION ALL
SELECT attempts, coalesce(error_kind, state), claim_id, runner_id, error_code, error_message, error_details::text AS error_details, backtrace, logs::text AS logs, logs_dropped,
       started_at,
       finished_at, fuel, peak_memory, wall_us, encode(digest, 'hex')
FROM {{schema}}.history
WHERE id = $1 AND started_at IS NOT NULL
ORDER BY ended_at, number
