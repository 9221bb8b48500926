-- Caller: Store::live_logs. Index: log_lines_pkey. No rows: nothing new.
SELECT l.task_id, l.claim_id, l.seq, l.attempt, l.at_ms, l.level, l.message, l.fields::text AS fields
FROM {{schema}}.log_lines AS l
WHERE l.task_id = $1::bigint AND (l.claim_id, l.seq) > ($2::bigint, $3::bigint)
ORDER BY l.claim_id, l.seq
