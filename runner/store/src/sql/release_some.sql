-- Caller: Store::retire. If the runner's claims have more than 8 MiB of arguments (as stored),
-- releases as many as fit into 8 MiB, and at least one, so that no statement takes long. $2:
-- claims of earlier calls, which still exist if they are unreadable. One row: the claims, and
-- how many tasks were released.
WITH held AS (
    SELECT c.id, row_number() OVER w AS ordinal, sum(pg_column_size(c.args)) OVER w AS total
    FROM {{schema}}.claims AS c
    WHERE c.runner_id = $1::bigint AND c.id <> ALL ($2::bigint[])
    WINDOW w AS (ORDER BY c.id)
), few AS MATERIALIZED (
    SELECT ARRAY(
        SELECT h.id FROM held AS h
        WHERE (h.ordinal = 1 OR h.total <= 8388608) AND (SELECT max(total) FROM held) > 8388608
        ORDER BY h.id) AS ids
)
SELECT f.ids AS claims, {{schema}}.release_claims(f.ids) AS released
FROM few AS f
