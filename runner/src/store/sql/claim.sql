-- Caller: Store::claim. Index: runnable_tasks_pkey, one ordered scan for each
-- lane, from the lane's cursor; the lanes come in the order of urgency and the
-- outer LIMIT stops the scans. No rows: nothing to take, or the runner is gone.
WITH lane AS MATERIALIZED (
    SELECT *
    FROM unnest($2::text[], $3::text[], $4::integer[], $5::bigint[], $6::bigint[])
        AS l (queue, handler, priority, after, most)
    -- Here and not only where lanes are looked for: a pause binds the next claim.
    WHERE NOT EXISTS (SELECT FROM {{schema}}.pauses AS p WHERE p.kind = 'queue' AND p.name = l.queue)
      AND NOT EXISTS (SELECT FROM {{schema}}.pauses AS p WHERE p.kind = 'handler' AND p.name = l.handler)
), picked AS MATERIALIZED (
    SELECT one.ctid
    FROM lane AS l
    CROSS JOIN LATERAL (
        SELECT r.ctid
        FROM {{schema}}.runnable_tasks AS r
        WHERE r.queue = l.queue AND r.handler = l.handler AND r.priority = l.priority AND r.position > l.after
        ORDER BY r.position
        LIMIT l.most
        FOR UPDATE SKIP LOCKED
    ) AS one
    WHERE EXISTS (SELECT FROM {{schema}}.runners WHERE id = $1::bigint)
    LIMIT $7::bigint
), gone AS (
    DELETE FROM {{schema}}.runnable_tasks AS r
    WHERE r.ctid = ANY (ARRAY(SELECT ctid FROM picked))
    RETURNING r.*
), claim AS (
    INSERT INTO {{schema}}.claims
        (id, runner_id, task_ids, queues, handlers, priorities, attempts, crashes, retries,
         pushed_at, due_at, keys, parents, args)
    SELECT nextval('{{schema}}.claim_ids'), $1, array_agg(g.id), array_agg(g.queue), array_agg(g.handler),
           array_agg(g.priority), array_agg(g.attempts), array_agg(g.crashes), array_agg(g.retries),
           array_agg(g.pushed_at), array_agg(g.due_at), array_agg(g.key), array_agg(g.parent), array_agg(g.args)
    FROM gone AS g
    HAVING count(*) > 0
    RETURNING id
)
SELECT c.id AS claim, g.id, g.queue, g.handler, g.priority, g.position, g.attempts, g.crashes, g.retries,
       g.pushed_at, g.due_at, g.key, g.parent, g.args::text AS args
FROM claim AS c
CROSS JOIN gone AS g
ORDER BY g.priority, g.position
