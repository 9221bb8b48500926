-- Caller: Store::stats. Index: history_finished_at.
SELECT handler::text AS handler,
       count(*) FILTER (WHERE state = 'complete') AS complete,
       count(*) FILTER (WHERE state = 'failed') AS failed,
       count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
       coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - due_at)), 0)::float8 AS wait_p50,
       coalesce(percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - due_at)), 0)::float8 AS wait_p95,
       coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - started_at)), 0)::float8 AS run_p50,
       coalesce(percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - started_at)), 0)::float8 AS run_p95
FROM {{schema}}.history
WHERE finished_at > now() - interval '5 minutes'
GROUP BY handler
ORDER BY count(*) DESC
LIMIT 100
