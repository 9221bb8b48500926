-- Caller: Store::beat. Indexes: claims_pkey, from the oldest relevant claim;
-- crash_reports_runner. One row; alive is false when the runner was removed.
WITH renewed AS (
    UPDATE {{schema}}.runners
    SET seen_at = now(), expires_at = now() + $2::float8 * interval '1 second',
        busy = $3::integer, held = $10::integer, draining = draining OR $4::boolean, plugins = $5::text::json, progress = $6::text::json,
        -- A gap, or a clock change: the observation period starts again.
        steady_since = CASE WHEN now() - seen_at BETWEEN interval '0' AND interval '8 seconds' THEN steady_since ELSE now() END,
        backend = CASE WHEN $8::boolean THEN NULL ELSE pg_backend_pid() END,
        started = $9::bigint[], judged = false
    WHERE id = $1::bigint
    RETURNING draining
)
SELECT EXISTS (SELECT FROM renewed) AS alive,
       coalesce((SELECT draining FROM renewed), false) AS draining,
       ARRAY(SELECT c.id FROM {{schema}}.claims AS c WHERE c.id > $7::bigint AND c.runner_id = $1 ORDER BY c.id) AS claims,
       (SELECT {{schema}}.withdraw_crashes($1) WHERE EXISTS (SELECT FROM {{schema}}.crash_reports AS x WHERE x.runner_id = $1)) AS withdrawn
