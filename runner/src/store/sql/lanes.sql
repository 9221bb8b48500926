-- Caller: Lanes::refresh. Index: runnable_tasks_pkey, by skipping: one descent
-- for each queue and for each (queue, handler) this runner could run, one for
-- each lane found. What stands in other lanes is never read.
WITH RECURSIVE queue AS (
    (SELECT r.queue
     FROM {{schema}}.runnable_tasks AS r
     WHERE NOT $3::boolean
     ORDER BY r.queue, r.handler, r.priority, r.position
     LIMIT 1)
    UNION ALL
    SELECT next.queue
    FROM queue AS q
    CROSS JOIN LATERAL (
        SELECT r.queue
        FROM {{schema}}.runnable_tasks AS r
        WHERE r.queue > q.queue
        ORDER BY r.queue, r.handler, r.priority, r.position
        LIMIT 1
    ) AS next
), served AS MATERIALIZED (
    SELECT q.queue FROM queue AS q WHERE NOT q.queue = ANY ($2::text[])
    UNION ALL
    SELECT n.queue FROM unnest($2::text[]) AS n (queue) WHERE $3
), lane AS (
    SELECT s.queue, h.handler, first.priority, first.position
    FROM served AS s
    CROSS JOIN unnest($1::text[]) AS h (handler)
    CROSS JOIN LATERAL (
        SELECT r.priority, r.position
        FROM {{schema}}.runnable_tasks AS r
        WHERE r.queue = s.queue AND r.handler = h.handler
        ORDER BY r.priority, r.position
        LIMIT 1
    ) AS first
    UNION ALL
    SELECT l.queue, l.handler, next.priority, next.position
    FROM lane AS l
    CROSS JOIN LATERAL (
        SELECT r.priority, r.position
        FROM {{schema}}.runnable_tasks AS r
        WHERE r.queue = l.queue AND r.handler = l.handler AND r.priority > l.priority
        ORDER BY r.priority, r.position
        LIMIT 1
    ) AS next
)
SELECT l.queue::text AS queue, l.handler::text AS handler, l.priority, l.position
FROM lane AS l
