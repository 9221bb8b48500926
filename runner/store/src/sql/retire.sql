-- Caller: Store::retire, after its claims were released. One row if the runner existed: the
-- claims that could not be released.
DELETE FROM {{schema}}.runners AS r WHERE r.id = $1::bigint
RETURNING ARRAY(SELECT c.id FROM {{schema}}.claims AS c WHERE c.runner_id = r.id ORDER BY c.id) AS left_out
