-- Caller: Store::take. Index: runnable_tasks_pkey. Whether the texts of this task are readable:
-- an error, or a row, or none if it is gone.
SELECT r.args::text AS args, r.key::text AS key
FROM {{schema}}.runnable_tasks AS r
WHERE r.queue = $1::text AND r.handler = $2::text AND r.priority = $3::integer AND r.position = $4::bigint
