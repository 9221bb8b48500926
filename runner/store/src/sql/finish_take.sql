-- Caller: Store::finish, first in the transaction of a large flush. Index: claims_pkey. The same
-- fence as in finish_final: a claim that ends now ($3) is deleted, one that continues ($2) is
-- locked, if they still exist and are ours.
WITH closed AS (
    DELETE FROM {{schema}}.claims AS c
    WHERE c.id = ANY ($3::bigint[]) AND c.runner_id = $1::bigint
    RETURNING c.id
), kept AS (
    SELECT c.id FROM {{schema}}.claims AS c
    WHERE c.id = ANY ($2::bigint[]) AND c.runner_id = $1
    FOR KEY SHARE
)
SELECT id, now() AS now FROM closed
UNION ALL
SELECT id, now() FROM kept
