-- Caller: Store::stats. Index: history_finished_at. Five rows, the oldest minute first.
SELECT count(h.id) AS ended
FROM generate_series(4, 0, -1) AS m (ago)
LEFT JOIN (
    SELECT id, floor(extract(epoch FROM now() - finished_at) / 60) AS ago
    FROM {{schema}}.history WHERE finished_at > now() - interval '5 minutes'
) AS h ON h.ago = m.ago
GROUP BY m.ago
ORDER BY m.ago DESC
