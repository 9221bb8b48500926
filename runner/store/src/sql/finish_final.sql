-- Caller: Store::finish, for final outcomes. Index: claims_pkey. A claim that ends now ($32) is
-- deleted, one that continues is locked, and both only if they still exist and are ours: a
-- rescue waits, or was first and takes precedence. Rows: the outcomes that came too late, by
-- their index in the arrays.
WITH ended AS MATERIALIZED (
    SELECT *
    FROM unnest($2::text[], $3::text[], $4::integer[], $5::integer[], $6::timestamptz[], $7::text[], $8::bigint[], $9::jsonb[], $10::json[],
                $11::bigint[], $12::bigint[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[],
                $20::text[], $21::bigint[], $22::integer[], $23::integer[], $24::timestamptz[], $25::float8[], $26::float8[],
                $27::bigint[], $28::bigint[], $29::bigint[], $30::bytea[])
        WITH ORDINALITY
        AS e ({{carried}},
              claim_id, id, state, result, error_kind, error_code, error_message, error_details, backtrace,
              logs, logs_dropped, attempts, crashes, due_at, since_start, since_end,
              fuel, peak_memory, wall_us, digest, ordinal)
), closed AS (
    DELETE FROM {{schema}}.claims AS c
    WHERE c.id = ANY ($32::bigint[]) AND c.runner_id = $1::bigint
    RETURNING c.id
), kept AS (
    SELECT c.id FROM {{schema}}.claims AS c
    WHERE c.id = ANY ($31::bigint[]) AND c.runner_id = $1
    FOR KEY SHARE
), held AS MATERIALIZED (
    SELECT id FROM closed
    UNION ALL
    SELECT id FROM kept
), stored AS (
    INSERT INTO {{schema}}.history
        ({{carried}}, id, state, attempts, crashes, result,
         error_kind, error_code, error_message, error_details, backtrace, logs, logs_dropped,
         due_at, started_at, finished_at, fuel, peak_memory, wall_us, digest, runner_id, claim_id)
    SELECT {{carried e}}, e.id, e.state, e.attempts, e.crashes, e.result::json,
           e.error_kind, e.error_code, e.error_message, e.error_details::json, string_to_array(e.backtrace, E'\n'), e.logs::json, e.logs_dropped,
           e.due_at, now() - e.since_start * interval '1 second', now() - e.since_end * interval '1 second',
           e.fuel, e.peak_memory, e.wall_us, e.digest, $1, e.claim_id
    FROM ended AS e
    WHERE e.claim_id = ANY (ARRAY(SELECT id FROM held))
)
SELECT e.ordinal FROM ended AS e WHERE NOT e.claim_id = ANY (ARRAY(SELECT id FROM held))
