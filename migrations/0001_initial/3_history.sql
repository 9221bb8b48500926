-- Finished tasks and attempts. make_partitions creates partitions of a day or more.

CREATE TABLE {{schema}}.history (
    id bigint NOT NULL,
    state text NOT NULL CONSTRAINT final_state CHECK (state IN ('complete', 'failed', 'cancelled')),
    priority integer NOT NULL,
    attempts integer NOT NULL,
    crashes integer NOT NULL,
    retries integer,
    queue text COLLATE "C" NOT NULL,
    handler text COLLATE "C" NOT NULL,
    args json NOT NULL,
    result json,
    error_kind text,
    error_code text,
    error_message text,
    error_details json,
    backtrace text[],
    logs json,
    logs_dropped bigint NOT NULL DEFAULT 0,
    pushed_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz NOT NULL DEFAULT now(),
    fuel bigint,
    peak_memory bigint,
    wall_us bigint,
    digest bytea,
    runner_id bigint,
    claim_id bigint,
    key text COLLATE "C",
    parent bigint,
    traits jsonb,
    -- For lookups of one task, and of the outcomes of a claim. A publication needs the
    -- identity of a deleted row.
    PRIMARY KEY (id, finished_at)
) PARTITION BY RANGE (finished_at);
COMMENT ON TABLE {{schema}}.history IS 'Finished tasks, in partitions of a day or more. Read the views complete, failed, cancelled instead.';
-- Finds failures among millions of successes; completing a task does not write to it.
-- Because it contains the time, failures before the time of a filter cost an index entry
-- and no table page.
CREATE INDEX history_unsuccessful ON {{schema}}.history (id, finished_at) WHERE state <> 'complete';
CREATE INDEX history_parent ON {{schema}}.history (parent) WHERE parent IS NOT NULL;
-- For the throughput of the last minutes, and for rare queues and handlers. Some hundred
-- bytes for each 64 pages, written when the pages are full: an outcome costs the same
-- with and without the two names.
CREATE INDEX history_summary ON {{schema}}.history USING brin
    (finished_at, queue text_bloom_ops (n_distinct_per_range = 50, false_positive_rate = 0.0001),
     handler text_bloom_ops (n_distinct_per_range = 50, false_positive_rate = 0.0001))
    WITH (pages_per_range = 64, autosummarize = on);
CREATE TABLE {{schema}}.history_default PARTITION OF {{schema}}.history DEFAULT;
COMMENT ON TABLE {{schema}}.history_default IS 'Rows of a day without a partition.';

CREATE TABLE {{schema}}.attempts (
    task_id bigint NOT NULL,
    claim_id bigint NOT NULL,
    number integer NOT NULL,
    kind text NOT NULL,
    error_code text,
    error_message text,
    error_details json,
    backtrace text[],
    logs json,
    logs_dropped bigint NOT NULL DEFAULT 0,
    started_at timestamptz,
    ended_at timestamptz NOT NULL DEFAULT now(),
    fuel bigint,
    peak_memory bigint,
    wall_us bigint,
    digest bytea,
    runner_id bigint,
    -- For lookups by task, and of the outcomes of a claim. Claim ids grow, so this is the
    -- order of attempts.
    PRIMARY KEY (task_id, claim_id, ended_at)
) PARTITION BY RANGE (ended_at);
COMMENT ON TABLE {{schema}}.attempts IS 'Attempts that did not finish their task, in partitions like history. The last attempt of a task is in its history row.';
COMMENT ON COLUMN {{schema}}.attempts.kind IS 'The kind of the error, or snooze, release, isolate, lost, crash, expired, cancelled, deleted.';
COMMENT ON COLUMN {{schema}}.attempts.claim_id IS '0 for a task that was cancelled before it was claimed.';
CREATE TABLE {{schema}}.attempts_default PARTITION OF {{schema}}.attempts DEFAULT;
COMMENT ON TABLE {{schema}}.attempts_default IS 'Rows of a day without a partition.';

-- lz4 if the server is built with it, as for the arguments of waiting tasks.
DO $$ BEGIN
    ALTER TABLE {{schema}}.history
        ALTER COLUMN args SET COMPRESSION lz4, ALTER COLUMN result SET COMPRESSION lz4, ALTER COLUMN error_message SET COMPRESSION lz4,
        ALTER COLUMN error_details SET COMPRESSION lz4, ALTER COLUMN backtrace SET COMPRESSION lz4, ALTER COLUMN logs SET COMPRESSION lz4;
    ALTER TABLE {{schema}}.history_default
        ALTER COLUMN args SET COMPRESSION lz4, ALTER COLUMN result SET COMPRESSION lz4, ALTER COLUMN error_message SET COMPRESSION lz4,
        ALTER COLUMN error_details SET COMPRESSION lz4, ALTER COLUMN backtrace SET COMPRESSION lz4, ALTER COLUMN logs SET COMPRESSION lz4;
    ALTER TABLE {{schema}}.attempts
        ALTER COLUMN error_message SET COMPRESSION lz4, ALTER COLUMN error_details SET COMPRESSION lz4,
        ALTER COLUMN backtrace SET COMPRESSION lz4, ALTER COLUMN logs SET COMPRESSION lz4;
    ALTER TABLE {{schema}}.attempts_default
        ALTER COLUMN error_message SET COMPRESSION lz4, ALTER COLUMN error_details SET COMPRESSION lz4,
        ALTER COLUMN backtrace SET COMPRESSION lz4, ALTER COLUMN logs SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN NULL;
END $$;
