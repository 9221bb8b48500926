-- Caller: Store::take, after a claim of few tasks ($6) met an unreadable row. Index:
-- runnable_tasks_pkey. The tasks that the claim would have taken, without their texts.
SELECT one.id, one.queue::text AS queue, one.handler::text AS handler, one.priority, one.position
FROM unnest($1::text[], $2::text[], $3::integer[], $4::bigint[]) WITH ORDINALITY
    AS l (queue, handler, priority, after, ordinal)
CROSS JOIN LATERAL (
    SELECT r.id, r.queue, r.handler, r.priority, r.position
    FROM {{schema}}.runnable_tasks AS r
    WHERE r.queue = l.queue AND r.handler = l.handler AND r.priority = l.priority AND r.position > l.after
      AND NOT r.id = ANY ($5::bigint[])
      AND NOT EXISTS (SELECT FROM {{schema}}.pauses AS p
                      WHERE p.kind = 'queue' AND p.name = l.queue OR p.kind = 'handler' AND p.name = l.handler)
    ORDER BY r.position
    LIMIT $6::bigint
    FOR UPDATE SKIP LOCKED
) AS one
ORDER BY l.ordinal, one.position
LIMIT $6
