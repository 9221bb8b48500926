-- Caller: Store::finish, again after an unknown commit. FOR UPDATE waits until the earlier
-- transaction, if the server still runs it, has committed or rolled back.
SELECT c.id FROM {{schema}}.claims AS c
WHERE c.id = ANY ($2::bigint[]) AND c.runner_id = $1::bigint
FOR UPDATE
