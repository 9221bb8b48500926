-- Caller: Store::claim. Index: runnable_tasks_pkey, one ordered scan for each lane, from the
-- lane's cursor; the lanes come in the order of urgency and the outer LIMIT stops the scans. No
-- row: nothing to take, or the runner is gone. One row with an array for each column costs both
-- sides less than a row for each task. At most $8 bytes of arguments are taken of what the scans
-- find, and at least one task: first_bytes checks them one by one, unless they are small in sum.
-- Tasks $9 are unreadable.
WITH lane AS MATERIALIZED (
    SELECT *
    FROM unnest($2::text[], $3::text[], $4::integer[], $5::bigint[], $6::bigint[])
        AS l (queue, handler, priority, after, most)
    -- Checked here and not only where lanes are found: a pause applies to the next claim.
    WHERE NOT EXISTS (SELECT FROM {{schema}}.pauses AS p WHERE p.kind = 'queue' AND p.name = l.queue)
      AND NOT EXISTS (SELECT FROM {{schema}}.pauses AS p WHERE p.kind = 'handler' AND p.name = l.handler)
), found AS MATERIALIZED (
    -- One row, so that nothing is materialized for each task. One byte is at most 255 bytes
    -- compressed with lz4, fewer with pglz.
    SELECT array_agg(r.ctid) AS ctids, sum(r.most) AS most
    FROM (
        SELECT one.ctid, one.most
        FROM lane AS l
        CROSS JOIN LATERAL (
            SELECT r.ctid, pg_column_size(r.args) * CASE WHEN pg_column_compression(r.args) IS NULL THEN 1 ELSE 255 END AS most
            FROM {{schema}}.runnable_tasks AS r
            WHERE r.queue = l.queue AND r.handler = l.handler AND r.priority = l.priority AND r.position > l.after
              AND NOT r.id = ANY ($9::bigint[])
            ORDER BY r.position
            LIMIT l.most
            FOR UPDATE SKIP LOCKED
        ) AS one
        WHERE EXISTS (SELECT FROM {{schema}}.runners WHERE id = $1::bigint)
        LIMIT $7::bigint
    ) AS r
), gone AS (
    DELETE FROM {{schema}}.runnable_tasks AS r
    WHERE r.ctid = ANY ((SELECT CASE WHEN most <= $8::bigint THEN ctids ELSE {{schema}}.first_bytes(ctids, $8) END FROM found)::tid[])
    RETURNING r.*
), batch AS MATERIALIZED (
    SELECT nextval('{{schema}}.claim_ids') AS id, array_agg(g.id) AS ids, array_agg(g.queue) AS queues, array_agg(g.handler) AS handlers,
           array_agg(g.priority) AS priorities, array_agg(g.position) AS positions, array_agg(g.attempts) AS attempts,
           array_agg(g.crashes) AS crashes, array_agg(g.retries) AS retries, array_agg(g.pushed_at) AS pushed_at,
           array_agg(g.due_at) AS due_at, array_agg(g.key) AS keys, array_agg(g.parent) AS parents,
           CASE WHEN count(g.traits) > 0 THEN array_agg(g.traits) END AS traits, array_agg(g.args) AS args
    FROM (SELECT * FROM gone ORDER BY priority, position) AS g
    HAVING count(*) > 0
), claim AS (
    INSERT INTO {{schema}}.claims
        (id, runner_id, task_ids, queues, handlers, priorities, attempts, crashes, retries,
         pushed_at, due_at, keys, parents, traits, args)
    SELECT id, $1, ids, queues, handlers, priorities, attempts, crashes, retries,
           pushed_at, due_at, keys, parents, traits, args
    FROM batch
)
SELECT (SELECT cardinality(ctids) FROM found) > cardinality(ids) AS is_cut, id, ids, queues, handlers, priorities, positions, attempts, crashes, retries, pushed_at, due_at, keys,
       parents, traits, args
FROM batch
