-- Caller: Store::finish, for tasks that are over. Index: claims_pkey.
-- A claim that ends now ($31) is deleted, one that goes on is locked, and both
-- only if they still exist and are ours: rescue waits, or was first and won.
-- Rows: the endings that came too late, by their place in the arrays.
WITH ended AS MATERIALIZED (
    SELECT *
    FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::integer[], $8::text[], $9::text[],
                $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::bigint[],
                $17::integer[], $18::integer[], $19::integer[], $20::timestamptz[], $21::timestamptz[],
                $22::float8[], $23::float8[], $24::bigint[], $25::bigint[], $26::bigint[], $27::bytea[],
                $28::text[], $29::bigint[])
        WITH ORDINALITY
        AS e (claim_id, id, state, queue, handler, priority, args, result,
              error_kind, error_code, error_message, error_details, backtrace, logs, logs_dropped,
              attempts, crashes, retries, pushed_at, due_at,
              since_start, since_end, fuel, peak_memory, wall_us, digest,
              key, parent, ordinal)
), closed AS (
    DELETE FROM {{schema}}.claims AS c
    WHERE c.id = ANY ($31::bigint[]) AND c.runner_id = $1::bigint
    RETURNING c.id
), kept AS (
    SELECT c.id FROM {{schema}}.claims AS c
    WHERE c.id = ANY ($30::bigint[]) AND c.runner_id = $1
    FOR KEY SHARE
), held AS MATERIALIZED (
    SELECT id FROM closed
    UNION ALL
    SELECT id FROM kept
), stored AS (
    INSERT INTO {{schema}}.history
        (id, state, priority, attempts, crashes, retries, queue, handler, args, result,
         error_kind, error_code, error_message, error_details, backtrace, logs, logs_dropped,
         pushed_at, due_at, started_at, finished_at,
         fuel, peak_memory, wall_us, digest, runner_id, claim_id, key, parent)
    SELECT e.id, e.state, e.priority, e.attempts, e.crashes, e.retries, e.queue, e.handler, e.args::json, e.result::json,
           e.error_kind, e.error_code, e.error_message, e.error_details::json, string_to_array(e.backtrace, E'\n'),
           e.logs::json, e.logs_dropped,
           e.pushed_at, e.due_at, now() - e.since_start * interval '1 second', now() - e.since_end * interval '1 second',
           e.fuel, e.peak_memory, e.wall_us, e.digest, $1, e.claim_id, e.key, e.parent
    FROM ended AS e
    WHERE e.claim_id = ANY (ARRAY(SELECT id FROM held))
)
SELECT e.ordinal FROM ended AS e WHERE NOT e.claim_id = ANY (ARRAY(SELECT id FROM held))
