-- Caller: Store::queues. Running tasks, tasks that ended within the hour, and pauses; waiting
-- counts the waiting tasks. The first $1 queues by name; found: the number of queues. Index:
-- history_summary.
WITH counted AS (
    SELECT u.queue, count(*) AS running, 0::bigint AS complete_hour, 0::bigint AS failed_hour
    FROM {{schema}}.in_flight AS u
    GROUP BY u.queue
    UNION ALL
    SELECT h.queue, 0, count(*) FILTER (WHERE h.state = 'complete'), count(*) FILTER (WHERE h.state = 'failed')
    FROM {{schema}}.history AS h
    WHERE h.finished_at > now() - interval '1 hour'
    GROUP BY h.queue
    UNION ALL
    SELECT p.name, 0, 0, 0 FROM {{schema}}.pauses AS p WHERE p.kind = 'queue'
), summed AS (
    SELECT c.queue, sum(c.running)::bigint AS running,
           sum(c.complete_hour)::bigint AS complete_hour, sum(c.failed_hour)::bigint AS failed_hour
    FROM counted AS c
    GROUP BY c.queue
)
SELECT s.queue::text AS queue, p.paused_at, s.running, s.complete_hour, s.failed_hour, count(*) OVER () AS found
FROM summed AS s
LEFT JOIN {{schema}}.pauses AS p ON p.kind = 'queue' AND p.name = s.queue
ORDER BY s.queue
LIMIT $1::bigint
