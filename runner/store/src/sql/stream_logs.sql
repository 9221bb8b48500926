-- Caller: Store::stream_logs. Indexes: claims_pkey, log_lines_pkey. Writes only for claims that
-- are still ours; takes no lock on them, so that no outcome ever waits for this statement. Lines
-- that exist already (after an unknown commit) are skipped. No rows.
WITH attempt AS MATERIALIZED (
    SELECT *
    FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
        WITH ORDINALITY
        AS a (claim_id, task_id, dropped_from, dropped_below, ordinal)
), ours AS MATERIALIZED (
    SELECT a.claim_id, a.task_id, a.ordinal, c.attempts[array_position(c.task_ids, a.task_id)] + 1 AS number
    FROM attempt AS a
    JOIN {{schema}}.claims AS c ON c.id = a.claim_id AND c.runner_id = $1::bigint
    WHERE a.task_id = ANY (c.task_ids)
), dropped AS (
    DELETE FROM {{schema}}.log_lines AS l
    USING attempt AS a
    WHERE l.task_id = a.task_id AND l.claim_id = a.claim_id
      AND l.seq >= a.dropped_from AND l.seq < a.dropped_below
)
INSERT INTO {{schema}}.log_lines (task_id, claim_id, seq, attempt, runner_id, at, at_ms, level, message, fields)
SELECT o.task_id, o.claim_id, l.seq, o.number, $1, now() - l.age_ms * interval '1 millisecond', l.at_ms, l.level, l.message,
       l.fields::json
FROM unnest($6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::text[], $11::text[], $12::text[])
    AS l (ordinal, seq, age_ms, at_ms, level, message, fields)
JOIN ours AS o ON o.ordinal = l.ordinal
ON CONFLICT DO NOTHING
