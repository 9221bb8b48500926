-- Caller: Store::stats. The total of waiting tasks: exact up to $2 tasks, otherwise estimated
-- from $1 pages of the table, chosen at random.
WITH share AS MATERIALIZED (
    SELECT least(100, 100.0 * $1::bigint * current_setting('block_size')::bigint
                      / greatest(1, pg_relation_size('{{schema}}.runnable_tasks'::regclass)))::float4 AS runnable,
           least(100, 100.0 * $1 * current_setting('block_size')::bigint
                      / greatest(1, pg_relation_size('{{schema}}.scheduled_tasks'::regclass)))::float4 AS scheduled
), first AS MATERIALIZED (
    SELECT (SELECT count(*) FROM (SELECT FROM {{schema}}.runnable_tasks LIMIT $2::bigint + 1) AS r) AS runnable,
           (SELECT count(*) FROM (SELECT FROM {{schema}}.scheduled_tasks LIMIT $2 + 1) AS s) AS scheduled
), sample AS MATERIALIZED (
    SELECT (SELECT count(*) FROM {{schema}}.runnable_tasks TABLESAMPLE SYSTEM ((SELECT runnable FROM share))) AS runnable,
           (SELECT count(*) FROM {{schema}}.scheduled_tasks TABLESAMPLE SYSTEM ((SELECT scheduled FROM share))) AS scheduled
)
SELECT CASE WHEN f.runnable <= $2 THEN f.runnable ELSE greatest(f.runnable, (m.runnable * 100 / s.runnable)::bigint) END AS runnable,
       CASE WHEN f.scheduled <= $2 THEN f.scheduled ELSE greatest(f.scheduled, (m.scheduled * 100 / s.scheduled)::bigint) END AS scheduled,
       f.runnable > $2 AND s.runnable < 100 AS runnable_is_estimate, f.scheduled > $2 AND s.scheduled < 100 AS scheduled_is_estimate
FROM share AS s, first AS f, sample AS m
