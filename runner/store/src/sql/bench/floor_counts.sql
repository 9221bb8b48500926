-- Caller: Store::floor_counts. Reads everything.
SELECT (SELECT count(*) FROM {{schema}}.floor_jobs) AS waiting,
       (SELECT count(DISTINCT id) FROM {{schema}}.floor_history) AS ended
