-- Caller: Store::stats. Index: history_summary. Tasks that ended in the last five minutes, by
-- handler and by age in whole minutes.
SELECT handler::text AS handler, floor(date_part('epoch', now() - finished_at) / 60)::integer AS ago, count(*) AS ended,
       count(*) FILTER (WHERE state = 'complete') AS complete,
       count(*) FILTER (WHERE state = 'failed') AS failed,
       count(*) FILTER (WHERE state = 'cancelled') AS cancelled
FROM {{schema}}.history
WHERE finished_at > now() - interval '5 minutes'
GROUP BY 1, 2
