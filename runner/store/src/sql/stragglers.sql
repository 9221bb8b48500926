-- Caller: Store::sweep. Index: runnable_tasks_pkey, one descent for each lane. The first task
-- between two positions of each lane: it committed after a claim had passed it. Rows: the lanes
-- that have one, by their index in the arrays.
SELECT l.n, first.position
FROM unnest($1::text[], $2::text[], $3::integer[], $4::bigint[], $5::bigint[]) WITH ORDINALITY
    AS l (queue, handler, priority, after, upto, n)
CROSS JOIN LATERAL (
    SELECT r.position
    FROM {{schema}}.runnable_tasks AS r
    WHERE r.queue = l.queue AND r.handler = l.handler AND r.priority = l.priority AND r.position > l.after AND r.position <= l.upto
    ORDER BY r.position
    LIMIT 1
) AS first
