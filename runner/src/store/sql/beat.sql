-- Caller: Store::beat. Index: claims_pkey, from the oldest claim that matters.
-- One row; alive is false when the runner was removed.
WITH renewed AS (
    UPDATE {{schema}}.runners
    SET seen_at = now(), expires_at = now() + $2::float8 * interval '1 second',
        busy = $3::integer, draining = draining OR $4::boolean, plugins = $5::text::json, progress = $6::text::json
    WHERE id = $1::bigint
    RETURNING draining
)
SELECT EXISTS (SELECT FROM renewed) AS alive,
       coalesce((SELECT draining FROM renewed), false) AS draining,
       ARRAY(SELECT c.id FROM {{schema}}.claims AS c WHERE c.id > $7::bigint AND c.runner_id = $1 ORDER BY c.id) AS claims
