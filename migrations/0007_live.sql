-- What is known of an attempt while it runs: its log lines so far, and how far
-- it says it is.

-- Written about once a second by runners for attempts that run longer than
-- that, deleted when the attempt has ended and its log is stored with it. Not
-- worth its weight in WAL: after a crash of the server it is empty. The key
-- serves who reads one task, and who deletes one attempt.
CREATE UNLOGGED TABLE {{schema}}.log_lines (
    task_id bigint NOT NULL,
    claim_id bigint NOT NULL,
    seq bigint NOT NULL,
    attempt integer NOT NULL,
    runner_id bigint NOT NULL,
    at timestamptz NOT NULL,
    at_ms bigint NOT NULL,
    level text NOT NULL CONSTRAINT log_level CHECK (level IN ('debug', 'info', 'warn', 'error')),
    message text NOT NULL,
    fields json,
    PRIMARY KEY (task_id, claim_id, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE {{schema}}.log_lines IS 'Log lines of attempts that still run, or whose runner died. Read the view live_logs instead.';
COMMENT ON COLUMN {{schema}}.log_lines.at_ms IS 'Milliseconds since the attempt started, as in stored logs.';

CREATE VIEW {{schema}}.live_logs AS
SELECT l.task_id, l.attempt, l.claim_id, l.runner_id, l.seq, l.at, l.level, l.message, l.fields,
       EXISTS (SELECT FROM {{schema}}.claims AS c WHERE c.id = l.claim_id) AS running
FROM {{schema}}.log_lines AS l;
COMMENT ON VIEW {{schema}}.live_logs
    IS 'Log lines of attempts that have run for more than a second or two, in the order of (claim_id, seq); a jump of seq is a line that was dropped. running is false for what an attempt logged before its runner died.';

CREATE VIEW {{schema}}.progress AS
SELECT p.key::bigint AS task_id, (p.value ->> 'claim')::bigint AS claim_id, r.id AS runner_id,
       (p.value ->> 'fraction')::float8 AS fraction, p.value ->> 'message' AS message, r.seen_at
FROM {{schema}}.runners AS r
CROSS JOIN LATERAL json_each(r.progress) AS p
WHERE EXISTS (SELECT FROM {{schema}}.claims AS c WHERE c.id = (p.value ->> 'claim')::bigint AND c.runner_id = r.id);
COMMENT ON VIEW {{schema}}.progress
    IS 'How far running tasks say they are: a fraction from 0 to 1 and a word for people, as of seen_at. A task that ended may stay for some seconds: join running for certainty.';

-- As before, and the lines of attempts whose runner died.
CREATE OR REPLACE FUNCTION {{schema}}.delete_tasks(ids bigint[]) RETURNS TABLE (id bigint, was text, changed boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    wanted bigint[] := ARRAY(SELECT DISTINCT i FROM unnest(ids) AS i ORDER BY i);
    gone_ids bigint[];
    states text[];
BEGIN
    WITH s AS (DELETE FROM {{schema}}.scheduled_tasks AS t WHERE t.id = ANY (wanted) RETURNING t.id, 'scheduled' AS state, t.queue, t.key),
    r AS (
        DELETE FROM {{schema}}.runnable_tasks AS t
        WHERE t.ctid = ANY (ARRAY(SELECT {{schema}}.find_runnable(wanted))) AND t.id = ANY (wanted)
        RETURNING t.id, 'runnable' AS state, t.queue, t.key
    ), h AS (
        DELETE FROM {{schema}}.history AS t WHERE t.id = ANY (wanted) RETURNING t.id, t.state, t.queue, t.key, t.claim_id
    ), gone AS (
        SELECT * FROM s UNION ALL SELECT * FROM r UNION ALL SELECT h.id, h.state, h.queue, h.key FROM h
    ), marked AS (
        -- While its claim lives, only these rows say that the task has ended there.
        INSERT INTO {{schema}}.attempts (task_id, claim_id, number, kind)
        SELECT h.id, h.claim_id, 0, 'deleted' FROM h JOIN {{schema}}.claims AS c ON c.id = h.claim_id
    ),
    unkeyed AS (
        DELETE FROM {{schema}}.keys AS k USING gone AS g
        WHERE g.key IS NOT NULL AND k.queue = g.queue AND k.key = g.key AND k.task_id = g.id
    )
    SELECT coalesce(array_agg(g.id), '{}'), array_agg(g.state) INTO gone_ids, states FROM gone AS g;
    DELETE FROM {{schema}}.attempts AS a
    WHERE a.task_id = ANY (gone_ids) AND NOT EXISTS (SELECT FROM {{schema}}.claims AS c WHERE c.id = a.claim_id);
    DELETE FROM {{schema}}.log_lines AS l WHERE l.task_id = ANY (gone_ids);
    RETURN QUERY SELECT g.id, g.state, true FROM unnest(gone_ids, states) AS g (id, state);
    RETURN QUERY SELECT u.id, 'running'::text, false FROM {{schema}}.unended AS u WHERE u.id = ANY (wanted);
END $$;
