-- Caller: Store::rescue. $4: claims that are known to be unreadable.
SELECT r.runner_ids, r.runner_names, r.tasks, r.failed, r.cancelled, r.left_out
FROM {{schema}}.rescue($1::boolean, $2::integer, $3::integer, $4::bigint[]) AS r
