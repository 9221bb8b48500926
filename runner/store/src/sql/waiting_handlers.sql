-- Caller: Store::push_look. For each handler, the number of waiting tasks, estimated from $1
-- pages of each table, chosen at random where there are more; exact where there are not.
WITH share AS MATERIALIZED (
    SELECT least(100, 100.0 * $1::bigint * current_setting('block_size')::bigint
                      / greatest(1, pg_relation_size('{{schema}}.runnable_tasks'::regclass)))::float4 AS runnable,
           least(100, 100.0 * $1 * current_setting('block_size')::bigint
                      / greatest(1, pg_relation_size('{{schema}}.scheduled_tasks'::regclass)))::float4 AS scheduled
), found AS (
    SELECT r.handler, count(*) * 100 / (SELECT runnable FROM share) AS n
    FROM {{schema}}.runnable_tasks AS r TABLESAMPLE SYSTEM ((SELECT runnable FROM share))
    GROUP BY r.handler
    UNION ALL
    SELECT s.handler, count(*) * 100 / (SELECT scheduled FROM share)
    FROM {{schema}}.scheduled_tasks AS s TABLESAMPLE SYSTEM ((SELECT scheduled FROM share))
    GROUP BY s.handler
)
SELECT f.handler::text AS handler, sum(f.n)::bigint AS n FROM found AS f GROUP BY f.handler
