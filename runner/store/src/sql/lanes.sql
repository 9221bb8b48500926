-- Caller: Store::sweep. Index: runnable_tasks_pkey, a loose scan in the order of its
-- key: a page of 256 entries, then the first entry after the last lane of the page, so
-- that many small lanes cost an entry each and a large one costs a page. It reads the
-- ranges $2..$7 one after the other (both ends excluded) until the last one ends or $8
-- milliseconds have passed. Rows: the lanes of the handlers $1 with the position of
-- their first task, and the last lane of each page; the last row is where to continue.
-- A scan stops at an upper bound only of the column after those that are equal. So a
-- range has one of three forms: up to a queue, up to a handler of the queue where it
-- begins, or up to a priority of one queue and handler.
WITH RECURSIVE range AS MATERIALIZED (
    SELECT r.*, r.from_queue = r.to_queue AS in_queue, r.from_queue = r.to_queue AND r.from_handler = r.to_handler AS in_handler
    FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bigint[]) WITH ORDINALITY
        AS r (from_queue, from_handler, from_priority, to_queue, to_handler, to_priority, n)
), page AS (
    SELECT 0::bigint AS n, true AS is_last, false AS is_full, NULL::text COLLATE "C" AS queue, NULL::text COLLATE "C" AS handler,
           NULL::integer AS priority, NULL::bigint AS position
    UNION ALL
    SELECT r.n, coalesce(lane.is_last, true), coalesce(lane.is_full, false), lane.queue, lane.handler, lane.priority, lane.position
    FROM page AS l
    JOIN range AS r ON r.n = CASE WHEN l.is_full THEN l.n ELSE l.n + 1 END
    CROSS JOIN LATERAL (
        SELECT CASE WHEN l.is_full THEN l.queue ELSE r.from_queue END AS queue,
               CASE WHEN l.is_full THEN l.handler ELSE r.from_handler END AS handler,
               CASE WHEN l.is_full THEN l.priority ELSE r.from_priority END AS priority
    ) AS after
    LEFT JOIN LATERAL (
        SELECT found.*
        FROM (
            SELECT entry.queue, entry.handler, entry.priority, min(entry.position) AS position,
                   row_number() OVER (ORDER BY entry.queue DESC, entry.handler DESC, entry.priority DESC) = 1 AS is_last,
                   sum(count(*)) OVER () = 256 AS is_full
            FROM (
                (SELECT t.queue, t.handler, t.priority, t.position
                 FROM {{schema}}.runnable_tasks AS t
                 WHERE NOT r.in_queue AND (t.queue, t.handler, t.priority) > (after.queue, after.handler, after.priority)
                   AND t.queue < r.to_queue
                 ORDER BY t.queue, t.handler, t.priority, t.position
                 LIMIT 256)
                UNION ALL
                (SELECT t.queue, t.handler, t.priority, t.position
                 FROM {{schema}}.runnable_tasks AS t
                 WHERE r.in_queue AND NOT r.in_handler AND t.queue = r.to_queue
                   AND (t.handler, t.priority) > (after.handler, after.priority) AND t.handler < r.to_handler
                 ORDER BY t.queue, t.handler, t.priority, t.position
                 LIMIT 256)
                UNION ALL
                (SELECT t.queue, t.handler, t.priority, t.position
                 FROM {{schema}}.runnable_tasks AS t
                 WHERE r.in_handler AND t.queue = r.to_queue AND t.handler = r.to_handler
                   AND t.priority > after.priority AND t.priority < r.to_priority
                 ORDER BY t.queue, t.handler, t.priority, t.position
                 LIMIT 256)
            ) AS entry
            GROUP BY entry.queue, entry.handler, entry.priority
        ) AS found
        WHERE found.is_last OR found.handler = ANY ($1::text[])
        ORDER BY found.queue, found.handler, found.priority
    ) AS lane ON true
    -- Depends on `l` alone, so that no page is read and discarded.
    WHERE CASE WHEN l.is_last THEN clock_timestamp() < statement_timestamp() + $8::float8 * interval '1 millisecond' END
)
SELECT p.n, p.is_full, p.queue::text AS queue, p.handler::text AS handler, p.priority, p.position, p.handler = ANY ($1) AS is_served
FROM page AS p
