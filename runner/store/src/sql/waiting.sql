-- Caller: Store::queues. For each of the first $4 queues by name, the number of waiting tasks,
-- at a cost that does not grow with it: $1 pages of each table are counted, chosen at random
-- where there are more, and the count is extrapolated. Exact nevertheless are all queues with up
-- to $2 / (number of queues) runnable tasks, with a minimum of $3 if there are few queues, and
-- up to $2 scheduled tasks in all. found: the number of queues, up to $4 and 10,000 more.
-- Indexes: runnable_tasks_pkey, scheduled_run_at.
WITH RECURSIVE share AS MATERIALIZED (
    SELECT least(100, 100.0 * $1::bigint * current_setting('block_size')::bigint
                      / greatest(1, pg_relation_size('{{schema}}.runnable_tasks'::regclass)))::float4 AS runnable,
           least(100, 100.0 * $1 * current_setting('block_size')::bigint
                      / greatest(1, pg_relation_size('{{schema}}.scheduled_tasks'::regclass)))::float4 AS scheduled
), runnable_sample AS MATERIALIZED (
    SELECT r.queue, count(*) AS n, min(r.due_at) AS oldest
    FROM {{schema}}.runnable_tasks AS r TABLESAMPLE SYSTEM ((SELECT runnable FROM share))
    GROUP BY r.queue
), queue AS (
    (SELECT r.queue, 1::bigint AS n FROM {{schema}}.runnable_tasks AS r
     WHERE (SELECT runnable FROM share) < 100 ORDER BY r.queue LIMIT 1)
    UNION ALL
    SELECT next.queue, q.n + 1
    FROM queue AS q
    CROSS JOIN LATERAL (
        SELECT r.queue FROM {{schema}}.runnable_tasks AS r WHERE r.queue > q.queue ORDER BY r.queue LIMIT 1) AS next
    WHERE q.n < $4::bigint + 10000
), runnable AS (
    SELECT s.queue, s.n, s.oldest, false AS is_estimate
    FROM runnable_sample AS s
    WHERE (SELECT runnable FROM share) = 100
    UNION ALL
    SELECT q.queue,
           CASE WHEN least_of.n <= exact.most THEN least_of.n
                ELSE greatest(least_of.n, (s.n * 100 / (SELECT runnable FROM share))::bigint) END,
           least(s.oldest, least_of.oldest), least_of.n > exact.most
    FROM queue AS q
    CROSS JOIN (
        SELECT greatest($2::bigint / greatest(1, count(*)), least($3::bigint, 10 * $2 / greatest(1, count(*)))) AS most
        FROM queue WHERE n <= $4) AS exact
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, min(r.due_at) AS oldest
        FROM (SELECT r.due_at FROM {{schema}}.runnable_tasks AS r
              WHERE r.queue = q.queue ORDER BY r.queue, r.handler, r.priority, r.position LIMIT exact.most + 1) AS r
    ) AS least_of
    LEFT JOIN runnable_sample AS s ON s.queue = q.queue
    WHERE q.n <= $4
    UNION ALL
    SELECT q.queue, 0, NULL, true FROM queue AS q WHERE q.n > $4
), first_due AS MATERIALIZED (
    SELECT s.queue FROM {{schema}}.scheduled_tasks AS s ORDER BY s.run_at LIMIT $2 + 1
), scheduled AS (
    SELECT f.queue, count(*) AS n, false AS is_estimate
    FROM first_due AS f
    WHERE (SELECT count(*) FROM first_due) <= $2
    GROUP BY f.queue
    UNION ALL
    SELECT s.queue, (count(*) * 100 / (SELECT scheduled FROM share))::bigint, (SELECT scheduled FROM share) < 100
    FROM {{schema}}.scheduled_tasks AS s TABLESAMPLE SYSTEM ((SELECT scheduled FROM share))
    WHERE (SELECT count(*) FROM first_due) > $2
    GROUP BY s.queue
)
SELECT coalesce(r.queue, s.queue)::text AS queue, coalesce(s.n, 0) AS scheduled, coalesce(r.n, 0) AS runnable,
       extract(epoch FROM now() - r.oldest)::float8 AS oldest_runnable_seconds,
       coalesce(s.is_estimate, false) AS scheduled_is_estimate, coalesce(r.is_estimate, false) AS runnable_is_estimate,
       count(*) OVER () AS found
FROM runnable AS r
FULL JOIN scheduled AS s ON s.queue = r.queue
ORDER BY coalesce(r.queue, s.queue)
LIMIT $4
