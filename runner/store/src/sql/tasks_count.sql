-- Caller: Store::count. Reads everything that matches the filter. The second condition on the
-- time allows pruning of older partitions.
SELECT count(*) AS count
FROM {{schema}}.tasks AS t
WHERE t.state IN ({{states}})
  AND ($1::text IS NULL OR t.queue = $1)
  AND ($2::text IS NULL OR t.handler LIKE $2)
  AND ($3::float8 IS NULL OR coalesce(t.finished_at, t.pushed_at) >= now() - $3 * interval '1 second')
  AND ($3 IS NULL OR t.finished_at IS NULL OR t.finished_at >= now() - $3 * interval '1 second')
  AND ($4::text IS NULL OR t.state <> 'complete' AND t.error_message ILIKE $4)
