-- Caller: Store::release_claim, Store::retire. $2: these claims, or null for all of the runner.
-- One row: how many tasks were released.
SELECT {{schema}}.release_claims(ARRAY(
    SELECT c.id FROM {{schema}}.claims AS c
    WHERE c.runner_id = $1::bigint AND ($2::bigint[] IS NULL OR c.id = ANY ($2))
)) AS released
