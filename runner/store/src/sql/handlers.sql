-- Caller: Store::handlers. Reads the whole table; the newest description of a version wins.
SELECT h.name::text AS name, (array_agg(h.info::text ORDER BY h.loaded_at DESC))[1] AS info,
       encode(h.digest, 'hex') AS digest, min(h.file) AS file, min(h.plugin) AS plugin,
       array_agg(h.runner_id ORDER BY h.runner_id) AS runners, max(p.paused_at) AS paused_at
FROM {{schema}}.handlers AS h
JOIN {{schema}}.runners AS r ON r.id = h.runner_id AND r.expires_at >= now()
LEFT JOIN {{schema}}.pauses AS p ON p.kind = 'handler' AND p.name = h.name
GROUP BY h.name, h.digest
ORDER BY h.name, max(h.loaded_at) DESC
