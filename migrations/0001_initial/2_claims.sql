-- Running tasks: claimed by runners or popped by external workers, and the data of
-- attempts that have not ended.

CREATE SEQUENCE {{schema}}.claim_ids;
COMMENT ON SEQUENCE {{schema}}.claim_ids IS 'Ids of claims. Never reset: a claim id is the fence of its outcomes.';

-- One row for each claimed batch, one array for each column. A row is deleted when all
-- its attempts have ended. Until then a row with this claim's id in history (final) or
-- attempts (all other outcomes) marks an attempt as ended.
CREATE TABLE {{schema}}.claims (
    id bigint PRIMARY KEY,
    runner_id bigint NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT now(),
    solo boolean NOT NULL DEFAULT false,
    task_ids bigint[] NOT NULL,
    queues text[] NOT NULL,
    handlers text[] NOT NULL,
    priorities integer[] NOT NULL,
    attempts integer[] NOT NULL,
    crashes integer[] NOT NULL,
    retries integer[] NOT NULL,
    pushed_at timestamptz[] NOT NULL,
    due_at timestamptz[] NOT NULL,
    keys text[] NOT NULL,
    parents bigint[] NOT NULL,
    traits jsonb[],
    args json[] NOT NULL,
    CONSTRAINT claims_solo CHECK (NOT solo OR cardinality(task_ids) = 1)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE {{schema}}.claims IS 'Batches of tasks assigned to a runner. Read the view running instead.';
COMMENT ON COLUMN {{schema}}.claims.traits IS 'NULL if no task of the claim has traits.';
COMMENT ON COLUMN {{schema}}.claims.solo IS 'Contains one suspect: a runner runs at most one such claim at a time.';

-- A claim's arrays are written once and deleted soon, so the faster compression is used
-- if the server is built with it.
DO $$ BEGIN
    ALTER TABLE {{schema}}.claims
        ALTER COLUMN task_ids SET COMPRESSION lz4, ALTER COLUMN queues SET COMPRESSION lz4, ALTER COLUMN handlers SET COMPRESSION lz4,
        ALTER COLUMN priorities SET COMPRESSION lz4, ALTER COLUMN attempts SET COMPRESSION lz4, ALTER COLUMN crashes SET COMPRESSION lz4,
        ALTER COLUMN retries SET COMPRESSION lz4, ALTER COLUMN pushed_at SET COMPRESSION lz4, ALTER COLUMN due_at SET COMPRESSION lz4,
        ALTER COLUMN keys SET COMPRESSION lz4, ALTER COLUMN parents SET COMPRESSION lz4, ALTER COLUMN traits SET COMPRESSION lz4,
        ALTER COLUMN args SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN NULL;
END $$;

-- Tasks that external workers popped: one row and one lease for each task, deleted when
-- the attempt ends. The token proves that the caller holds the lease: ids are sequential
-- and can be guessed, tokens cannot.
CREATE TABLE {{schema}}.popped (
    task_id bigint PRIMARY KEY,
    token uuid NOT NULL,
    claim_id bigint NOT NULL,
    worker text NOT NULL CONSTRAINT worker_name CHECK (octet_length(worker) BETWEEN 1 AND 128),
    popped_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    queue text COLLATE "C" NOT NULL,
    handler text COLLATE "C" NOT NULL,
    priority integer NOT NULL,
    attempts integer NOT NULL,
    crashes integer NOT NULL,
    retries integer,
    pushed_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    key text COLLATE "C",
    parent bigint,
    traits jsonb,
    args json NOT NULL,
    log_seq bigint NOT NULL DEFAULT 0,
    fraction float8,
    message text,
    reported_at timestamptz
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE {{schema}}.popped IS 'Tasks that external workers hold. Read the view running instead: a reader of a token could end the task.';
COMMENT ON COLUMN {{schema}}.popped.claim_id IS 'Identifies the attempt in cancellations, log_lines, history and attempts.';
CREATE INDEX popped_expires_at ON {{schema}}.popped (expires_at);

DO $$ BEGIN
    ALTER TABLE {{schema}}.popped ALTER COLUMN args SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN NULL;
END $$;

-- One row for each session of a worker, which pop refreshes at most every 10 seconds.
-- Each session has its own row, so that no worker waits for another one's transaction.
CREATE UNLOGGED TABLE {{schema}}.worker_sessions (
    name text NOT NULL,
    pid integer NOT NULL,
    role name NOT NULL,
    queues text[] NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (name, pid)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 20);
COMMENT ON TABLE {{schema}}.worker_sessions IS 'Sessions of external workers that called pop in the last minutes. Read the view workers instead.';

-- Where pop starts to read a lane. Index entries of claimed rows remain until vacuum can
-- remove them, which an old snapshot prevents: without a start, each pop would step over
-- all of them. A start never decreases: the newest row of a lane has the highest
-- position, and a backward scan reads it first, so the dead versions of this table cost
-- nothing either.
CREATE UNLOGGED TABLE {{schema}}.lane_starts (
    queue text COLLATE "C" NOT NULL,
    handler text COLLATE "C" NOT NULL,
    priority integer NOT NULL,
    position bigint NOT NULL,
    checked_at timestamptz NOT NULL,
    PRIMARY KEY (queue, handler, priority, position)
) WITH (autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 20);
COMMENT ON TABLE {{schema}}.lane_starts IS 'Positions below which pop does not read. Only tend writes here; safe to truncate.';

CREATE TABLE {{schema}}.upkeep (
    id boolean PRIMARY KEY DEFAULT true CONSTRAINT one_row CHECK (id),
    bound bigint NOT NULL DEFAULT 0,
    bound_at timestamptz NOT NULL DEFAULT '-infinity',
    recheck bigint NOT NULL DEFAULT 0,
    expired_to timestamptz NOT NULL DEFAULT '-infinity',
    expired_all_at timestamptz NOT NULL DEFAULT '-infinity',
    server_started_at timestamptz,
    gap_from timestamptz NOT NULL DEFAULT '-infinity',
    gap_to timestamptz NOT NULL DEFAULT '-infinity',
    gap_is_restart boolean NOT NULL DEFAULT false,
    promoted_due timestamptz NOT NULL DEFAULT '-infinity',
    promoted_id bigint NOT NULL DEFAULT 0,
    promotes_on boolean NOT NULL DEFAULT false,
    promote_all_at timestamptz NOT NULL DEFAULT '-infinity'
);
COMMENT ON TABLE {{schema}}.upkeep IS 'One row: the state of the last tend. Its lock admits one tend at a time.';
COMMENT ON COLUMN {{schema}}.upkeep.bound IS 'The newest position a second before the last tend. Lane starts stay below it, because transactions with lower positions can still be open.';
COMMENT ON COLUMN {{schema}}.upkeep.recheck IS 'How far tend has searched again below the lane starts, for tasks of longer transactions.';
COMMENT ON COLUMN {{schema}}.upkeep.expired_to IS 'Leases that expired before this were taken back, unless they were locked. tend checks all leases once a minute.';
COMMENT ON COLUMN {{schema}}.upkeep.gap_from IS 'The last tend before the last gap: more than 5 seconds without a tend, or a restart of the server.';
COMMENT ON COLUMN {{schema}}.upkeep.gap_to IS 'The first tend after that gap. Leases that expired since gap_from are kept for 15 seconds after it.';
COMMENT ON COLUMN {{schema}}.upkeep.gap_is_restart IS 'The server was restarted or replaced in the gap: leases that expired in it count no attempt.';
COMMENT ON COLUMN {{schema}}.upkeep.promoted_due IS 'With promoted_id: the position of the last promoted task. Under an old snapshot the index keeps an entry for each one before it.';
COMMENT ON COLUMN {{schema}}.upkeep.promotes_on IS 'The last tend left due tasks after that position.';
COMMENT ON COLUMN {{schema}}.upkeep.promote_all_at IS 'When tend next reads all due tasks from the first.';
INSERT INTO {{schema}}.upkeep DEFAULT VALUES;

CREATE TABLE {{schema}}.cancellations (
    claim_id bigint NOT NULL,
    task_id bigint NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (claim_id, task_id)
);
COMMENT ON TABLE {{schema}}.cancellations IS 'Running tasks whose cancellation was requested.';

-- Tasks whose runner was lost while they ran. A report counts as a crash only if the
-- runner's death is proven: see count_crashes.
CREATE TABLE {{schema}}.crash_reports (
    task_id bigint NOT NULL,
    claim_id bigint NOT NULL,
    runner_id bigint NOT NULL,
    solo boolean NOT NULL,
    alone boolean NOT NULL,
    counted integer,
    started_at timestamptz NOT NULL,
    reported_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (task_id, claim_id)
);
COMMENT ON TABLE {{schema}}.crash_reports IS 'Tasks whose runner was lost while they ran. Kept for a day, or until the runner returns.';
COMMENT ON COLUMN {{schema}}.crash_reports.solo IS 'It was the only suspect that ran there.';
COMMENT ON COLUMN {{schema}}.crash_reports.alone IS 'It was the only task that ran there.';
COMMENT ON COLUMN {{schema}}.crash_reports.counted IS 'How many crashes were added; null: not proven yet.';
CREATE INDEX crash_reports_runner ON {{schema}}.crash_reports (runner_id);
CREATE INDEX crash_reports_open ON {{schema}}.crash_reports (reported_at) WHERE counted IS NULL;

-- Runners write here about once a second for attempts that run longer than that, and
-- delete the lines when the attempt has ended and its log is stored with it. Unlogged, to
-- save WAL: after a crash of the server the table is empty. The primary key serves reads
-- of one task and deletions of one attempt.
CREATE UNLOGGED TABLE {{schema}}.log_lines (
    task_id bigint NOT NULL,
    claim_id bigint NOT NULL,
    seq bigint NOT NULL,
    attempt integer NOT NULL,
    runner_id bigint,
    at timestamptz NOT NULL,
    at_ms bigint NOT NULL,
    level text NOT NULL CONSTRAINT log_level CHECK (level IN ('debug', 'info', 'warn', 'error')),
    message text NOT NULL,
    fields json,
    PRIMARY KEY (task_id, claim_id, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE {{schema}}.log_lines IS 'Log lines of running attempts, and of attempts whose runner crashed. Read the view live_logs instead.';
COMMENT ON COLUMN {{schema}}.log_lines.at_ms IS 'Milliseconds since the attempt started, as in stored logs.';
