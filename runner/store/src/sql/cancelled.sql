-- Caller: Store::beat, Store::cancelled. Reads the whole table of
-- cancellations, which is nearly always empty.
SELECT x.claim_id, x.task_id
FROM {{schema}}.cancellations AS x
JOIN {{schema}}.claims AS c ON c.id = x.claim_id
WHERE c.runner_id = $1::bigint
