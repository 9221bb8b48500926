-- Caller: Store::tasks. A page ends when its texts have $7 bytes. Indexes: history_pkey or history_unsuccessful, read backwards.
-- Of history the newest 20,000 ids are read first. If too few of them are meant, those
-- that the filter names are looked for in all of it, by history_summary: an index by id
-- would be read to its end for them.
-- Runnable tasks have no index by id: in each lane (found by skipping through
-- runnable_tasks_pkey) a fresh push stands where its id says, so the lane is read from
-- its end; those that came back are in runnable_returned. Where there are more lanes
-- than the table has pages, the whole table is read instead. The progress is looked for
-- after the limit: it costs a look at the runners, not at the tasks.
WITH RECURSIVE lane AS (
    (SELECT r.queue, r.handler, r.priority
     FROM {{schema}}.runnable_tasks AS r
     WHERE 'runnable' IN ({{states}}) AND $4::text IS NULL
     ORDER BY r.queue, r.handler, r.priority
     LIMIT 1)
    UNION ALL
    SELECT next.queue, next.handler, next.priority
    FROM lane AS l
    CROSS JOIN LATERAL (
        SELECT r.queue, r.handler, r.priority
        FROM {{schema}}.runnable_tasks AS r
        WHERE (r.queue, r.handler, r.priority) > (l.queue, l.handler, l.priority)
        ORDER BY r.queue, r.handler, r.priority
        LIMIT 1
    ) AS next
), most AS MATERIALIZED (
    SELECT greatest(1000, pg_relation_size('{{schema}}.runnable_tasks'::regclass) / current_setting('block_size')::bigint / 4) AS lanes
), known AS MATERIALIZED (
    SELECT l.queue, l.handler, l.priority FROM lane AS l LIMIT (SELECT lanes + 1 FROM most)
), few AS MATERIALIZED (
    SELECT k.queue, k.handler, k.priority FROM known AS k WHERE (SELECT count(*) FROM known) <= (SELECT lanes FROM most)
), fresh AS (
    SELECT newest.ctid, newest.id
    FROM few AS l
    CROSS JOIN LATERAL (
        SELECT r.ctid, r.id
        FROM {{schema}}.runnable_tasks AS r
        WHERE r.queue = l.queue AND r.handler = l.handler AND r.priority = l.priority
          AND r.position < coalesce($5::bigint, 9223372036854775807) AND r.position = r.id
          AND ($3::float8 IS NULL OR r.pushed_at >= now() - $3 * interval '1 second')
        ORDER BY r.position DESC
        LIMIT $6::bigint
    ) AS newest
    WHERE ($1::text IS NULL OR l.queue = $1) AND ($2::text IS NULL OR l.handler LIKE $2)
), returned AS (
    SELECT r.ctid, r.id
    FROM {{schema}}.runnable_tasks AS r
    WHERE r.position <> r.id AND 'runnable' IN ({{states}}) AND $4 IS NULL
      AND ($1 IS NULL OR r.queue = $1)
      AND ($2 IS NULL OR r.handler LIKE $2)
      AND ($3 IS NULL OR r.pushed_at >= now() - $3 * interval '1 second')
      AND ($5 IS NULL OR r.id < $5)
    ORDER BY r.id DESC
    LIMIT $6
), whole AS (
    SELECT r.ctid, r.id
    FROM {{schema}}.runnable_tasks AS r
    WHERE (SELECT count(*) FROM known) > (SELECT lanes FROM most)
      AND ($1 IS NULL OR r.queue = $1)
      AND ($2 IS NULL OR r.handler LIKE $2)
      AND ($3 IS NULL OR r.pushed_at >= now() - $3 * interval '1 second')
      AND ($5 IS NULL OR r.id < $5)
    ORDER BY r.id DESC
    LIMIT $6
), waiting AS (
    -- The whole table holds what came back, too.
    SELECT DISTINCT ctid, id FROM (SELECT * FROM fresh UNION ALL SELECT * FROM returned UNION ALL SELECT * FROM whole) AS each_way
    ORDER BY id DESC
    LIMIT $6
), edge AS MATERIALIZED (
    SELECT least($5, (SELECT h.id + 1 FROM {{schema}}.history AS h ORDER BY h.id DESC LIMIT 1)) AS id
), near AS MATERIALIZED (
    SELECT h.id, h.finished_at
    FROM {{schema}}.history AS h
    WHERE h.state IN ({{states}}) AND h.id < (SELECT id FROM edge) AND h.id >= (SELECT id FROM edge) - 20000
      AND ($1 IS NULL OR h.queue = $1)
      AND ($2 IS NULL OR h.handler LIKE $2)
      AND ($3 IS NULL OR h.finished_at >= now() - $3 * interval '1 second')
      AND ($4 IS NULL OR h.state <> 'complete' AND h.error_message ILIKE $4)
    ORDER BY h.id DESC
    LIMIT $6
), named AS MATERIALIZED (
    SELECT h.id, h.finished_at
    FROM {{schema}}.history AS h
    WHERE num_nonnulls($1, $2, $3, $4) > 0 AND (SELECT count(*) FROM near) < $6
      AND h.state IN ({{states}}) AND h.id + 0 < (SELECT id FROM edge) - 20000
      AND ($1 IS NULL OR h.queue = $1)
      AND ($2 IS NULL OR h.handler LIKE $2)
      AND ($3 IS NULL OR h.finished_at >= now() - $3 * interval '1 second')
      AND ($4 IS NULL OR h.state <> 'complete' AND h.error_message ILIKE $4)
    ORDER BY h.id + 0 DESC
    LIMIT $6
), older AS MATERIALIZED (
    SELECT h.id, h.finished_at
    FROM {{schema}}.history AS h
    WHERE num_nonnulls($1, $2, $3, $4) = 0 AND (SELECT count(*) FROM near) < $6
      AND h.state IN ({{states}}) AND h.id < (SELECT id FROM edge) - 20000
    ORDER BY h.id DESC
    LIMIT $6
), ended AS (
    SELECT * FROM (SELECT * FROM near UNION ALL SELECT * FROM named UNION ALL SELECT * FROM older) AS each_way
    ORDER BY id DESC
    LIMIT $6
), page AS (
    SELECT r.id, 'runnable' AS state, r.queue, r.handler, r.priority, r.args, NULL::json AS result, NULL AS error_kind,
           NULL AS error_message, r.attempts, r.crashes, r.retries, r.pushed_at, r.due_at, NULL::timestamptz AS started_at,
           NULL::timestamptz AS finished_at, NULL::bigint AS runner_id, NULL::bigint AS claim_id, r.key, r.parent
    FROM {{schema}}.runnable_tasks AS r
    WHERE r.ctid = ANY (ARRAY(SELECT ctid FROM waiting))
    UNION ALL
    (SELECT t.id, t.state, t.queue, t.handler, t.priority, t.args, t.result, t.error_kind,
            t.error_message, t.attempts, t.crashes, t.retries, t.pushed_at, t.due_at, t.started_at,
            t.finished_at, t.runner_id, t.claim_id, t.key, t.parent
     FROM (SELECT * FROM {{schema}}.scheduled UNION ALL SELECT * FROM {{schema}}.running) AS t
     WHERE t.state IN ({{states}}) AND $4 IS NULL
       AND ($1 IS NULL OR t.queue = $1)
       AND ($2 IS NULL OR t.handler LIKE $2)
       AND ($3 IS NULL OR t.pushed_at >= now() - $3 * interval '1 second')
       AND ($5 IS NULL OR t.id < $5)
     ORDER BY t.id DESC
     LIMIT $6)
    UNION ALL
    SELECT h.id, h.state, h.queue, h.handler, h.priority, h.args, h.result, h.error_kind,
           h.error_message, h.attempts, h.crashes, h.retries, h.pushed_at, h.due_at, h.started_at,
           h.finished_at, h.runner_id, h.claim_id, h.key, h.parent
    FROM ended AS e
    JOIN {{schema}}.history AS h ON h.id = e.id AND h.finished_at = e.finished_at
    ORDER BY id DESC
    LIMIT $6
), sized AS (
    -- As stored: the whole texts are read only of those that are shown.
    SELECT p.*, sum(pg_column_size(p.args) + coalesce(pg_column_size(p.result), 0) + coalesce(pg_column_size(p.error_message), 0))
        OVER (ORDER BY p.id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM page AS p
)
SELECT t.id, t.state, t.queue::text AS queue, t.handler::text AS handler, t.priority, t.args::text AS args, t.result::text AS result,
       t.error_kind, t.error_message, t.attempts, t.crashes, t.retries, t.pushed_at, t.due_at, t.started_at, t.finished_at,
       t.runner_id, t.claim_id, t.key::text AS key, t.parent, p.fraction, p.message
FROM sized AS t
LEFT JOIN {{schema}}.progress AS p ON t.state = 'running' AND p.task_id = t.id AND p.claim_id = t.claim_id
WHERE coalesce(t.before, 0) < $7::bigint
ORDER BY t.id DESC
