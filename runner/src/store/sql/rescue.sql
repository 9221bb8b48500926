-- Caller: Store::rescue.
SELECT r.runner_ids, r.runner_names, r.tasks, r.failed, r.cancelled FROM {{schema}}.rescue($1::boolean, $2::integer, $3::integer) AS r
