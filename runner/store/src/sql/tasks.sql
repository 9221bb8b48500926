-- Caller: Store::tasks. A page ends when its texts have $7 bytes. Indexes: history_pkey or history_unsuccessful, read backwards.
-- A page scans a bounded number of tasks, from the newest on, for any filter and any
-- number of matches: `reached` is the lowest id that it scanned (null: it scanned all
-- that are left, or it ended before, by its size), and the next page begins there. If
-- nothing matched, a row without a task carries it. The bounds:
--   history, for filters without complete tasks: 10,000 that failed or were cancelled.
--   history, otherwise: the newest 20,000 ids, and then all that match the time, the
--     queue or the handler, by history_summary. A pattern of handlers matches all there.
--   scheduled, and returned runnable tasks: 20,000 of each.
--   runnable: 20,000 over all lanes.
-- A waiting task that was pushed five minutes before the time in the filter ends the
-- scan without `reached`: ids are assigned in the order of time, except to transactions
-- that stay open for that long.
-- Runnable tasks have no index by id: in each lane (found by a loose scan of
-- runnable_tasks_pkey) fresh pushes are in the order of their ids, so the lane is read
-- from its end; returned tasks are in runnable_returned. Where there are more lanes than
-- the table has pages, the whole table is read instead. The progress is read after the
-- limit: it costs a read of the runners, not of the tasks.
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
), depth AS MATERIALIZED (
    SELECT greatest($6::bigint, 20000 / greatest(1, (SELECT count(*) FROM few))) AS rows
), fresh AS (
    SELECT newest.ctid, newest.id
    FROM few AS l
    CROSS JOIN LATERAL (
        SELECT deep.ctid, deep.id
        FROM (
            SELECT r.ctid, r.id, r.position, r.pushed_at
            FROM {{schema}}.runnable_tasks AS r
            WHERE r.queue = l.queue AND r.handler = l.handler AND r.priority = l.priority
              AND r.position < coalesce($5::bigint, 9223372036854775807)
            ORDER BY r.position DESC
            LIMIT (SELECT rows FROM depth)
        ) AS deep
        WHERE deep.position = deep.id AND ($3::float8 IS NULL OR deep.pushed_at >= now() - $3 * interval '1 second')
        LIMIT $6
    ) AS newest
    WHERE ($1::text IS NULL OR l.queue = $1) AND ($2::text IS NULL OR l.handler LIKE $2)
), back AS MATERIALIZED (
    SELECT r.ctid, r.id, r.pushed_at, r.queue, r.handler
    FROM {{schema}}.runnable_tasks AS r
    WHERE r.position <> r.id AND 'runnable' IN ({{states}}) AND $4 IS NULL AND ($5 IS NULL OR r.id < $5)
    ORDER BY r.id DESC
    LIMIT greatest($6, 20000)
), returned AS (
    SELECT b.ctid, b.id
    FROM back AS b
    WHERE ($1 IS NULL OR b.queue = $1)
      AND ($2 IS NULL OR b.handler LIKE $2)
      AND ($3 IS NULL OR b.pushed_at >= now() - $3 * interval '1 second')
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
), waiting AS MATERIALIZED (
    -- The whole table also contains the returned tasks.
    SELECT DISTINCT ctid, id FROM (SELECT * FROM fresh UNION ALL SELECT * FROM returned UNION ALL SELECT * FROM whole) AS each_way
    ORDER BY id DESC
    LIMIT $6
), later AS MATERIALIZED (
    SELECT s.id, s.pushed_at, s.queue, s.handler
    FROM {{schema}}.scheduled_tasks AS s
    WHERE 'scheduled' IN ({{states}}) AND $4 IS NULL AND ($5 IS NULL OR s.id < $5)
    ORDER BY s.id DESC
    LIMIT greatest($6, 20000)
), delayed AS MATERIALIZED (
    SELECT l.id
    FROM later AS l
    WHERE ($1 IS NULL OR l.queue = $1)
      AND ($2 IS NULL OR l.handler LIKE $2)
      AND ($3 IS NULL OR l.pushed_at >= now() - $3 * interval '1 second')
    LIMIT $6
), unsuccessful AS MATERIALIZED (
    SELECT h.id, h.finished_at, h.state, h.queue, h.handler, h.error_message
    FROM {{schema}}.history AS h
    WHERE ($4::text IS NOT NULL OR 'complete' NOT IN ({{states}})) AND ('failed' IN ({{states}}) OR 'cancelled' IN ({{states}}))
      AND h.state <> 'complete' AND ($5 IS NULL OR h.id < $5)
      AND ($3 IS NULL OR h.finished_at >= now() - $3 * interval '1 second')
    ORDER BY h.id DESC
    LIMIT greatest($6, 10000)
), failing AS MATERIALIZED (
    SELECT u.id, u.finished_at
    FROM unsuccessful AS u
    WHERE u.state IN ({{states}})
      AND ($1 IS NULL OR u.queue = $1)
      AND ($2 IS NULL OR u.handler LIKE $2)
      AND ($4 IS NULL OR u.error_message ILIKE $4)
    LIMIT $6
), edge AS MATERIALIZED (
    SELECT least($5, (SELECT h.id + 1 FROM {{schema}}.history AS h ORDER BY h.id DESC LIMIT 1)) AS id
    WHERE $4 IS NULL AND 'complete' IN ({{states}})
), near AS MATERIALIZED (
    -- The inner limit keeps the conditions out of the scan by id.
    SELECT n.id, n.finished_at
    FROM (
        SELECT h.id, h.finished_at, h.state, h.queue, h.handler
        FROM {{schema}}.history AS h
        WHERE $4 IS NULL AND 'complete' IN ({{states}}) AND h.id < (SELECT id FROM edge) AND h.id >= (SELECT id FROM edge) - 20000
        ORDER BY h.id DESC
        LIMIT 20000
    ) AS n
    WHERE n.state IN ({{states}})
      AND ($1 IS NULL OR n.queue = $1)
      AND ($2 IS NULL OR n.handler LIKE $2)
      AND ($3 IS NULL OR n.finished_at >= now() - $3 * interval '1 second')
    LIMIT $6
), named AS MATERIALIZED (
    SELECT h.id, h.finished_at
    FROM {{schema}}.history AS h
    WHERE num_nonnulls($1, $2, $3) > 0 AND (SELECT count(*) FROM near) < $6
      AND $4 IS NULL AND 'complete' IN ({{states}}) AND h.state IN ({{states}}) AND h.id + 0 < (SELECT id FROM edge) - 20000
      AND ($1 IS NULL OR h.queue = $1)
      AND ($2 IS NULL OR h.handler LIKE $2)
      AND ($3 IS NULL OR h.finished_at >= now() - $3 * interval '1 second')
    ORDER BY h.id + 0 DESC
    LIMIT $6
), older AS MATERIALIZED (
    SELECT h.id, h.finished_at
    FROM {{schema}}.history AS h
    WHERE num_nonnulls($1, $2, $3) = 0 AND (SELECT count(*) FROM near) < $6
      AND $4 IS NULL AND 'complete' IN ({{states}}) AND h.state IN ({{states}}) AND h.id < (SELECT id FROM edge) - 20000
    ORDER BY h.id DESC
    LIMIT $6
), ended AS (
    SELECT * FROM (SELECT * FROM failing UNION ALL SELECT * FROM near UNION ALL SELECT * FROM named UNION ALL SELECT * FROM older) AS each_way
    ORDER BY id DESC
    LIMIT $6
), reached AS MATERIALIZED (
    -- Each part is evaluated only if it found less than a page: the scans above are read lazily.
    SELECT greatest(
        CASE WHEN (SELECT count(*) FROM failing) < $6 THEN (SELECT min(u.id) FROM unsuccessful AS u HAVING count(*) >= 10000) END,
        CASE WHEN (SELECT count(*) FROM delayed) < $6 THEN (
            SELECT last.id FROM (SELECT l.id, l.pushed_at FROM later AS l OFFSET 19999 LIMIT 1) AS last
            WHERE $3 IS NULL OR last.pushed_at >= now() - ($3 + 300) * interval '1 second') END,
        CASE WHEN (SELECT count(*) FROM waiting) < $6 THEN (
            SELECT last.id FROM (SELECT b.id, b.pushed_at FROM back AS b OFFSET 19999 LIMIT 1) AS last
            WHERE $3 IS NULL OR last.pushed_at >= now() - ($3 + 300) * interval '1 second') END,
        CASE WHEN (SELECT count(*) FROM waiting) < $6 THEN (
            SELECT max(last.position)
            FROM few AS l
            CROSS JOIN LATERAL (
                SELECT r.position, r.pushed_at
                FROM {{schema}}.runnable_tasks AS r
                WHERE r.queue = l.queue AND r.handler = l.handler AND r.priority = l.priority
                  AND r.position < coalesce($5, 9223372036854775807)
                ORDER BY r.position DESC
                OFFSET (SELECT rows FROM depth) - 1
                LIMIT 1
            ) AS last
            WHERE ($1 IS NULL OR l.queue = $1) AND ($2 IS NULL OR l.handler LIKE $2)
              AND ($3 IS NULL OR last.pushed_at >= now() - ($3 + 300) * interval '1 second')) END) AS id
), page AS (
    SELECT r.id, 'runnable' AS state, r.queue, r.handler, r.priority, r.args, NULL::json AS result, NULL AS error_kind,
           NULL AS error_message, r.attempts, r.crashes, r.retries, r.pushed_at, r.due_at, NULL::timestamptz AS started_at,
           NULL::timestamptz AS finished_at, NULL::bigint AS runner_id, NULL::bigint AS claim_id, r.key, r.parent
    FROM {{schema}}.runnable_tasks AS r
    WHERE r.ctid = ANY (ARRAY(SELECT ctid FROM waiting))
    UNION ALL
    SELECT s.id, s.state, s.queue, s.handler, s.priority, s.args, s.result, s.error_kind,
           s.error_message, s.attempts, s.crashes, s.retries, s.pushed_at, s.due_at, s.started_at,
           s.finished_at, s.runner_id, s.claim_id, s.key, s.parent
    FROM {{schema}}.scheduled AS s
    WHERE s.id = ANY (ARRAY(SELECT id FROM delayed))
    UNION ALL
    (SELECT t.id, t.state, t.queue, t.handler, t.priority, t.args, t.result, t.error_kind,
            t.error_message, t.attempts, t.crashes, t.retries, t.pushed_at, t.due_at, t.started_at,
            t.finished_at, t.runner_id, t.claim_id, t.key, t.parent
     FROM {{schema}}.running AS t
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
    -- Stored sizes: the whole texts are read only of the tasks that are returned.
    SELECT p.*, sum(pg_column_size(p.args) + coalesce(pg_column_size(p.result), 0) + coalesce(pg_column_size(p.error_message), 0))
        OVER (ORDER BY p.id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM page AS p
    WHERE p.id >= coalesce((SELECT id FROM reached), p.id)
)
SELECT t.id, t.state, t.queue::text AS queue, t.handler::text AS handler, t.priority, t.args::text AS args, t.result::text AS result,
       t.error_kind, t.error_message, t.attempts, t.crashes, t.retries, t.pushed_at, t.due_at, t.started_at, t.finished_at,
       t.runner_id, t.claim_id, t.key::text AS key, t.parent, p.fraction, p.message,
       CASE WHEN NOT EXISTS (SELECT FROM sized AS cut WHERE cut.before >= $7) THEN f.id END AS reached
FROM reached AS f
LEFT JOIN sized AS t ON coalesce(t.before, 0) < $7::bigint
LEFT JOIN {{schema}}.progress AS p ON t.state = 'running' AND p.task_id = t.id AND p.claim_id = t.claim_id
ORDER BY t.id DESC
