-- Caller: Store::finish, for final outcomes. Index: claims_pkey. A claim that ends now ($3) is
-- deleted, one that continues is locked, and both only if they still exist and are ours: a
-- rescue waits, or was first and takes precedence. Rows: the outcomes that came too late, by
-- their index in the arrays.
WITH ended AS MATERIALIZED (
    SELECT *
    FROM unnest({{final.bound 4}}) WITH ORDINALITY
        AS e ({{final.names}}, ordinal)
), closed AS (
    DELETE FROM {{schema}}.claims AS c
    WHERE c.id = ANY ($3::bigint[]) AND c.runner_id = $1::bigint
    RETURNING c.id
), kept AS (
    SELECT c.id FROM {{schema}}.claims AS c
    WHERE c.id = ANY ($2::bigint[]) AND c.runner_id = $1
    FOR KEY SHARE
), held AS MATERIALIZED (
    SELECT id FROM closed
    UNION ALL
    SELECT id FROM kept
), stored AS (
    INSERT INTO {{schema}}.history ({{final.columns}}, runner_id)
    SELECT {{final.values e}}, $1
    FROM ended AS e
    WHERE e.claim_id = ANY (ARRAY(SELECT id FROM held))
)
SELECT e.ordinal FROM ended AS e WHERE NOT e.claim_id = ANY (ARRAY(SELECT id FROM held))
