-- Caller: Store::task. Indexes: attempts_pkey, history_pkey. The first 50 and the last 50
-- attempts, and how many between them are omitted: a task that snoozes can have any number of
-- them. The last attempt of a finished task is in its history row. The texts are those of the
-- newest attempts, $2 bytes in all, and of at least one attempt; of the others only the
-- beginning of the message is returned. The stored lengths are checked first, since they are a
-- lower bound of the real ones, so that few texts are read.
WITH picked AS MATERIALIZED (
    (SELECT a.claim_id, a.ended_at FROM {{schema}}.attempts AS a
     WHERE a.task_id = $1::bigint ORDER BY a.claim_id, a.ended_at LIMIT 50)
    UNION
    (SELECT a.claim_id, a.ended_at FROM {{schema}}.attempts AS a
     WHERE a.task_id = $1 ORDER BY a.claim_id DESC, a.ended_at DESC LIMIT 50)
), omitted AS MATERIALIZED (
    SELECT (SELECT count(*) FROM {{schema}}.attempts AS a WHERE a.task_id = $1) - (SELECT count(*) FROM picked) AS n
), each AS (
    SELECT a.number, a.kind, nullif(a.claim_id, 0) AS claim_id, a.runner_id, a.error_code, a.error_message, a.error_details,
           a.backtrace, a.logs, a.logs_dropped, a.started_at, a.ended_at, a.fuel, a.peak_memory, a.wall_us, a.digest
    FROM picked AS p
    JOIN {{schema}}.attempts AS a ON a.task_id = $1 AND a.claim_id = p.claim_id AND a.ended_at = p.ended_at
    WHERE a.kind <> 'deleted'
    UNION ALL
    SELECT h.attempts, coalesce(h.error_kind, h.state), h.claim_id, h.runner_id, h.error_code, h.error_message, h.error_details,
           h.backtrace, h.logs, h.logs_dropped, h.started_at, h.finished_at, h.fuel, h.peak_memory, h.wall_us, h.digest
    FROM {{schema}}.history AS h
    WHERE h.id = $1 AND h.started_at IS NOT NULL
), stored AS (
    SELECT e.*, row_number() OVER newest AS ordinal,
           sum(coalesce(pg_column_size(e.error_message), 0) + coalesce(pg_column_size(e.error_details), 0)
               + coalesce(pg_column_size(e.backtrace), 0) + coalesce(pg_column_size(e.logs), 0)) OVER newest AS least
    FROM each AS e
    WINDOW newest AS (ORDER BY e.ended_at DESC, e.number DESC)
), sized AS (
    SELECT s.*, s.least <= $2::bigint AND sum(CASE WHEN s.least <= $2 THEN
               coalesce(octet_length(s.error_message), 0) + coalesce(octet_length(s.error_details::text), 0)
               + coalesce(octet_length(s.backtrace::text), 0) + coalesce(octet_length(s.logs::text), 0) END)
           OVER (ORDER BY s.ordinal) <= $2 OR s.ordinal = 1 AS is_whole
    FROM stored AS s
)
SELECT s.number, s.kind, s.claim_id, s.runner_id, s.error_code,
       CASE WHEN s.is_whole THEN s.error_message ELSE left(s.error_message, 1000) END AS error_message,
       CASE WHEN s.is_whole THEN s.error_details::text END AS error_details,
       CASE WHEN s.is_whole THEN s.backtrace END AS backtrace,
       CASE WHEN s.is_whole THEN s.logs::text END AS logs,
       s.logs_dropped, s.started_at, s.ended_at, s.fuel, s.peak_memory, s.wall_us, encode(s.digest, 'hex') AS digest,
       (SELECT n FROM omitted) AS omitted,
       NOT s.is_whole AND (s.error_details IS NOT NULL OR s.backtrace IS NOT NULL OR s.logs IS NOT NULL OR length(s.error_message) > 1000) AS texts_omitted
FROM sized AS s
ORDER BY s.ended_at, s.number
