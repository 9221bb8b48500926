-- Caller: Store::runners. Reads the whole table.
SELECT r.id, r.name, r.host, r.pid, r.version, r.slots, r.busy, r.held, r.queues, r.started_at, r.seen_at, r.plugins::text AS plugins,
       CASE WHEN r.expires_at < now() THEN 'lost' WHEN r.draining THEN 'draining' ELSE 'running' END AS state,
       extract(epoch FROM now() - r.seen_at)::float8 AS seen_seconds,
       ARRAY(SELECT DISTINCT encode(h.digest, 'hex') FROM {{schema}}.handlers AS h WHERE h.runner_id = r.id ORDER BY 1) AS digests
FROM {{schema}}.runners AS r
ORDER BY r.id
