-- Caller: AttemptDatabase::load. Index: task_state_pkey. No rows: nothing was saved.
SELECT s.name::text AS name, s.value::text AS value FROM {{schema}}.task_state AS s WHERE s.task_id = $1::bigint LIMIT 10000
