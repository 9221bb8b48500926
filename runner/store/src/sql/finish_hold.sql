-- Caller: Store::finish, first in a transaction of more than one statement.
-- Index: claims_pkey. Waits for a rescue or a cancel of these claims.
SELECT c.id FROM {{schema}}.claims AS c
WHERE c.id = ANY ($2::bigint[]) AND c.runner_id = $1::bigint
FOR KEY SHARE
