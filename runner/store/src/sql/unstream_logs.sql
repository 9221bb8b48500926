-- Caller: Store::unstream_logs. Index: log_lines_pkey. No rows.
DELETE FROM {{schema}}.log_lines AS l
USING unnest($1::bigint[], $2::bigint[]) AS e (claim_id, task_id)
WHERE l.task_id = e.task_id AND l.claim_id = e.claim_id
