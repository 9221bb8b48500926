-- Caller: Store::stats. Index: history_summary. Wait and run times of a random sample, with the
-- fraction $1, of the tasks that ended in the last five minutes.
WITH timed AS MATERIALIZED (
    SELECT handler, date_part('epoch', started_at - due_at) AS wait, date_part('epoch', finished_at - started_at) AS run
    FROM {{schema}}.history
    WHERE finished_at > now() - interval '5 minutes' AND random() < $1::float8
)
SELECT handler::text AS handler,
       percentile_cont('{0.5, 0.95}'::float8[]) WITHIN GROUP (ORDER BY wait) AS wait,
       percentile_cont('{0.5, 0.95}'::float8[]) WITHIN GROUP (ORDER BY run) AS run
FROM timed
GROUP BY handler
