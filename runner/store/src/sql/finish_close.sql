-- Caller: Store::finish, last in a transaction of more than one statement.
WITH closed AS (
    DELETE FROM {{schema}}.claims AS c WHERE c.id = ANY ($2::bigint[]) AND c.runner_id = $1::bigint
), answered AS (
    DELETE FROM {{schema}}.cancellations AS x
    USING unnest($3::bigint[], $4::bigint[]) AS e (claim_id, id)
    WHERE x.claim_id = e.claim_id AND x.task_id = e.id
)
SELECT {{schema}}.wake($5::text[]) WHERE cardinality($5) > 0
