-- Caller: Store::retire. Some claims of the runner, as many as have 8 MiB of arguments
-- (as stored) and one at least, so that no statement takes long. One row: how many
-- claims these were, and how many tasks went back.
WITH held AS (
    SELECT c.id, sum(pg_column_size(c.args)) OVER (ORDER BY c.id) - pg_column_size(c.args) AS before
    FROM {{schema}}.claims AS c
    WHERE c.runner_id = $1::bigint
), few AS MATERIALIZED (
    SELECT ARRAY(SELECT h.id FROM held AS h WHERE h.before < 8388608 ORDER BY h.id) AS ids
)
SELECT cardinality(f.ids)::bigint AS n_claims, {{schema}}.release_claims(f.ids) AS released
FROM few AS f
