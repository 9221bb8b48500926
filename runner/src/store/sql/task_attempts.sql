-- Caller: Store::task. Indexes: attempts_pkey, history_pkey. The first 50 and the last
-- 50 attempts, and how many between them are left out: a task that snoozes has no limit
-- of them. The last attempt of a task that is over is in its history row.
WITH picked AS MATERIALIZED (
    (SELECT a.claim_id, a.ended_at FROM {{schema}}.attempts AS a
     WHERE a.task_id = $1::bigint ORDER BY a.claim_id, a.ended_at LIMIT 50)
    UNION
    (SELECT a.claim_id, a.ended_at FROM {{schema}}.attempts AS a
     WHERE a.task_id = $1 ORDER BY a.claim_id DESC, a.ended_at DESC LIMIT 50)
), omitted AS MATERIALIZED (
    SELECT (SELECT count(*) FROM {{schema}}.attempts AS a WHERE a.task_id = $1) - (SELECT count(*) FROM picked) AS n
)
SELECT a.number, a.kind, nullif(a.claim_id, 0) AS claim_id, a.runner_id, a.error_code, a.error_message,
       a.error_details::text AS error_details, a.backtrace, a.logs::text AS logs, a.logs_dropped, a.started_at,
       a.ended_at, a.fuel, a.peak_memory, a.wall_us, encode(a.digest, 'hex') AS digest, (SELECT n FROM omitted) AS omitted
FROM picked AS p
JOIN {{schema}}.attempts AS a ON a.task_id = $1 AND a.claim_id = p.claim_id AND a.ended_at = p.ended_at
WHERE a.kind <> 'deleted'
UNION ALL
SELECT attempts, coalesce(error_kind, state), claim_id, runner_id, error_code, error_message, error_details::text AS error_details, backtrace, logs::text AS logs, logs_dropped,
       started_at,
       finished_at, fuel, peak_memory, wall_us, encode(digest, 'hex'), (SELECT n FROM omitted)
FROM {{schema}}.history
WHERE id = $1 AND started_at IS NOT NULL
ORDER BY ended_at, number
