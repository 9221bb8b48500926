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
