-- Caller: Store::stats. Index: history_finished_at. The times are those of a share of
-- the tasks, $1, chosen by chance.
SELECT handler::text AS handler,
       count(*) FILTER (WHERE state = 'complete') AS complete,
       count(*) FILTER (WHERE state = 'failed') AS failed,
       count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
       percentile_cont('{0.5, 0.95}'::float8[]) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - due_at)::float8)
           FILTER (WHERE random() < $1::float8) AS wait,
       percentile_cont('{0.5, 0.95}'::float8[]) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - started_at)::float8)
           FILTER (WHERE random() < $1) AS run
FROM {{schema}}.history
WHERE finished_at > now() - interval '5 minutes'
GROUP BY handler
ORDER BY count(*) DESC
LIMIT 100
