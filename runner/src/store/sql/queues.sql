-- Caller: Store::queues. What runs or ended within the hour, and who is paused; what
-- waits is counted by waiting. Index: history_summary.
WITH counted AS (
    SELECT u.queue, count(*) AS running, 0::bigint AS complete_hour, 0::bigint AS failed_hour
    FROM {{schema}}.unended AS u
    GROUP BY u.queue
    UNION ALL
    SELECT h.queue, 0, count(*) FILTER (WHERE h.state = 'complete'), count(*) FILTER (WHERE h.state = 'failed')
    FROM {{schema}}.history AS h
    WHERE h.finished_at > now() - interval '1 hour'
    GROUP BY h.queue
    UNION ALL
    SELECT p.name, 0, 0, 0 FROM {{schema}}.pauses AS p WHERE p.kind = 'queue'
)
SELECT c.queue::text AS queue, p.paused_at, sum(c.running)::bigint AS running,
       sum(c.complete_hour)::bigint AS complete_hour, sum(c.failed_hour)::bigint AS failed_hour
FROM counted AS c
LEFT JOIN {{schema}}.pauses AS p ON p.kind = 'queue' AND p.name = c.queue
GROUP BY c.queue, p.paused_at
