-- Caller: Store::publish_handlers. Replaces the runner's list. A runner that
-- was removed meanwhile publishes nothing.
WITH wanted AS MATERIALIZED (
    SELECT * FROM unnest($2::text[], $3::text[], $4::bytea[], $5::text[], $6::text[])
        AS w (name, info, digest, file, plugin)
    WHERE EXISTS (SELECT FROM {{schema}}.runners AS r WHERE r.id = $1::bigint)
), gone AS (
    DELETE FROM {{schema}}.handlers AS h
    WHERE h.runner_id = $1 AND NOT h.name = ANY ($2)
)
INSERT INTO {{schema}}.handlers AS h (runner_id, name, info, digest, file, plugin)
SELECT $1, w.name, w.info::json, w.digest, w.file, w.plugin FROM wanted AS w
ON CONFLICT (runner_id, name) DO UPDATE
SET info = EXCLUDED.info, digest = EXCLUDED.digest, file = EXCLUDED.file, plugin = EXCLUDED.plugin,
    loaded_at = CASE WHEN h.digest = EXCLUDED.digest THEN h.loaded_at ELSE now() END
