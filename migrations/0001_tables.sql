-- The tables of the queue. A task is in exactly one of them: the table is its
-- state. {{schema}} stands for the schema's name, quoted.
--
-- Every time is the database's. Every id is a bigint from a sequence; gaps are legal.
--
-- What a task keeps while it moves from table to table is one list of columns, in
-- store/carried.rs: {{carried}} stands for it in statements, {{carried t}} for t's.

CREATE SEQUENCE {{schema}}.task_ids;
COMMENT ON SEQUENCE {{schema}}.task_ids IS 'Ids of tasks, and their positions in a lane.';
CREATE SEQUENCE {{schema}}.claim_ids;
COMMENT ON SEQUENCE {{schema}}.claim_ids IS 'Ids of claims. Only grows: a claim id is the fence of its endings.';
CREATE SEQUENCE {{schema}}.runner_ids;
COMMENT ON SEQUENCE {{schema}}.runner_ids IS 'Ids of runners, one for each life of a process.';

-- Wake-up flags: a runner or worker that waits for tasks of a queue sets the queue's
-- flag, and the first push that sees it clears it and notifies. The name of the queue
-- chooses one of sixteen; a runner that serves all other queues sets all of them. A
-- sequence, because it is outside of transactions: one look at one page, no dead
-- rows under an old snapshot, and nothing to clean up after a runner that died. A
-- multiple of 1024 is a set flag; nextval clears it, and tells exactly one of several
-- pushes that it was the first.
DO $$ BEGIN
    FOR flag IN 0 .. 15 LOOP
        EXECUTE format('CREATE SEQUENCE {{schema}}.wake_%s', flag);
        EXECUTE format('COMMENT ON SEQUENCE {{schema}}.wake_%s IS ''Wake-up flag: set while its value is a multiple of 1024.''', flag);
    END LOOP;
END $$;

-- PostgreSQL parses the CHECK constraints of a table again for every INSERT
-- statement: for one row that was two thirds of the insert (150,000 of 224,000
-- instructions). The push functions check a runnable task; only the schema's owner
-- and runners write here directly. A counted repetition such as {1,128} costs 15 us
-- for a name of eleven letters; the two checks that replace it cost less than one.
--
-- Claimed in the order of its key: one lane for each (queue, handler,
-- priority), tasks of a lane by position. A fresh push has position = id; a
-- task that comes back gets a new position behind every claimer's cursor, so
-- that cursors need not look back for it.
CREATE TABLE {{schema}}.runnable_tasks (
    queue text COLLATE "C" NOT NULL,
    handler text COLLATE "C" NOT NULL,
    priority integer NOT NULL,
    position bigint NOT NULL,
    id bigint NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    retries integer,
    pushed_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL DEFAULT now(),
    key text COLLATE "C",
    parent bigint,
    traits jsonb,
    args json NOT NULL,
    PRIMARY KEY (queue, handler, priority, position)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE {{schema}}.runnable_tasks IS 'Tasks that are due. Read the view runnable instead.';
COMMENT ON COLUMN {{schema}}.runnable_tasks.traits IS 'What few tasks have: an object, carried through every transition. A runner gives back a task with a field that it does not know, unless the name begins with _.';

-- For find_runnable: a fresh push is found by position = id in its lane, so only
-- tasks that came back need an entry. Measured: an index over all ids raises a push
-- of many from 73,300 to 81,400 instructions a task and from 224 to 290 bytes of WAL,
-- and a claim by nothing. BRIN costs as much where freed pages are filled again.
CREATE INDEX runnable_returned ON {{schema}}.runnable_tasks (id) WHERE position <> id;
CREATE INDEX runnable_parent ON {{schema}}.runnable_tasks (parent) WHERE parent IS NOT NULL;

CREATE TABLE {{schema}}.scheduled_tasks (
    id bigint PRIMARY KEY,
    queue text COLLATE "C" NOT NULL CONSTRAINT queue_name CHECK (queue !~ '[^A-Za-z0-9_.:-]' AND octet_length(queue) BETWEEN 1 AND 128),
    handler text COLLATE "C" NOT NULL CONSTRAINT handler_name CHECK (handler !~ '[^A-Za-z0-9_.:-]' AND octet_length(handler) BETWEEN 1 AND 128),
    priority integer NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    retries integer CONSTRAINT retries_count CHECK (retries >= -1),
    pushed_at timestamptz NOT NULL DEFAULT now(),
    run_at timestamptz NOT NULL CONSTRAINT run_at_sane CHECK (isfinite(run_at) AND run_at < '9000-01-01 00:00:00+00'),
    key text COLLATE "C",
    parent bigint,
    traits jsonb,
    args json NOT NULL CONSTRAINT args_size CHECK (octet_length(args::text) <= 1048576)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE {{schema}}.scheduled_tasks IS 'Tasks that wait for their time, or for their retry. Read the view scheduled instead.';
CREATE INDEX scheduled_run_at ON {{schema}}.scheduled_tasks (run_at, id);
CREATE INDEX scheduled_parent ON {{schema}}.scheduled_tasks (parent) WHERE parent IS NOT NULL;

-- One row for each claimed batch, one array for each column. A row is deleted
-- when all its tasks have ended; until then an ended task is known by its row
-- in history (final) or attempts (every other ending) with this claim's id.
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
COMMENT ON TABLE {{schema}}.claims IS 'Batches of tasks given to a runner. Read the view running instead.';
COMMENT ON COLUMN {{schema}}.claims.traits IS 'NULL when no task of the claim has any.';
COMMENT ON COLUMN {{schema}}.claims.solo IS 'Holds one suspect: at most one such claim of a runner runs at a time.';

-- A claim's arrays are written once and gone in a moment: the quicker compression,
-- where the server was built with it.
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
COMMENT ON TABLE {{schema}}.popped IS 'Tasks that external workers hold. Read the view running instead: a token lets its reader end the task.';
COMMENT ON COLUMN {{schema}}.popped.claim_id IS 'Identifies the attempt in cancellations, log_lines, history and attempts.';
CREATE INDEX popped_expires_at ON {{schema}}.popped (expires_at);

-- One row for each session of a worker, refreshed by pop every 10 seconds at most. A session
-- is a row of its own, so that no worker waits for the transaction of another.
CREATE UNLOGGED TABLE {{schema}}.worker_sessions (
    name text NOT NULL,
    pid integer NOT NULL,
    role name NOT NULL,
    queues text[] NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (name, pid)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 20);
COMMENT ON TABLE {{schema}}.worker_sessions IS 'Sessions of external workers that popped within the last minutes. Read the view workers instead.';

-- Where pop begins to read a lane. Rows that were claimed stay in the index until vacuum can
-- remove them, which an old snapshot prevents: without a start, each pop steps over all of
-- them. A start only grows: the newest row of a lane has the highest position and is read
-- first, backwards, so that the dead versions of this table cost nothing either.
CREATE UNLOGGED TABLE {{schema}}.lane_starts (
    queue text COLLATE "C" NOT NULL,
    handler text COLLATE "C" NOT NULL,
    priority integer NOT NULL,
    position bigint NOT NULL,
    checked_at timestamptz NOT NULL,
    PRIMARY KEY (queue, handler, priority, position)
) WITH (autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 20);
COMMENT ON TABLE {{schema}}.lane_starts IS 'Positions below which pop need not look. Written by tend only; safe to truncate.';

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
COMMENT ON TABLE {{schema}}.upkeep IS 'One row: what the last tend saw. Its lock lets one tend run at a time.';
COMMENT ON COLUMN {{schema}}.upkeep.bound IS 'The newest position a second before the last tend: lane starts stay below it, because transactions with lower positions may still be open.';
COMMENT ON COLUMN {{schema}}.upkeep.recheck IS 'How far tend has looked again below the lane starts, for tasks whose transaction took longer.';
COMMENT ON COLUMN {{schema}}.upkeep.expired_to IS 'Leases that ended before this were taken back, unless they were locked; all are looked at once a minute.';
COMMENT ON COLUMN {{schema}}.upkeep.gap_from IS 'The last tend before the last gap: more than 5 seconds without a tend, or another start of the server.';
COMMENT ON COLUMN {{schema}}.upkeep.gap_to IS 'The first tend after that gap. Leases that ended since gap_from are kept for 15 seconds from then on.';
COMMENT ON COLUMN {{schema}}.upkeep.gap_is_restart IS 'The server was started in the gap, or is another one: leases that ended in it count no attempt.';
COMMENT ON COLUMN {{schema}}.upkeep.promoted_due IS 'With promoted_id: the place of the last task promoted. Under an old snapshot the index keeps an entry for each one before it.';
COMMENT ON COLUMN {{schema}}.upkeep.promotes_on IS 'The last tend left due tasks behind that place.';
COMMENT ON COLUMN {{schema}}.upkeep.promote_all_at IS 'When tend looks at all due tasks again, from the first.';
INSERT INTO {{schema}}.upkeep DEFAULT VALUES;

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
    -- By id: one task for people, and the endings of a claim. A publication needs
    -- the identity of a row that is deleted.
    PRIMARY KEY (id, finished_at)
) PARTITION BY RANGE (finished_at);
COMMENT ON TABLE {{schema}}.history IS 'Tasks that ended, in partitions of a day or more. Read the views complete, failed, cancelled instead.';
-- Failures are looked for among millions of successes; completing a task does not touch this one.
-- With the time, failures before the time that a filter names cost an entry here and no page of the table.
CREATE INDEX history_unsuccessful ON {{schema}}.history (id, finished_at) WHERE state <> 'complete';
CREATE INDEX history_parent ON {{schema}}.history (parent) WHERE parent IS NOT NULL;
-- Throughput of the last minutes, and a queue or handler that ended few tasks. Some
-- hundred bytes for each 64 pages, written when the pages are full: an ending costs
-- the same with and without the two names.
CREATE INDEX history_summary ON {{schema}}.history USING brin
    (finished_at, queue text_bloom_ops (n_distinct_per_range = 50, false_positive_rate = 0.0001),
     handler text_bloom_ops (n_distinct_per_range = 50, false_positive_rate = 0.0001))
    WITH (pages_per_range = 64, autosummarize = on);
CREATE TABLE {{schema}}.history_default PARTITION OF {{schema}}.history DEFAULT;
COMMENT ON TABLE {{schema}}.history_default IS 'The net: rows of a day that has no partition.';

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
    -- By task, and the endings of a claim. Claim ids grow, so this is the order of attempts.
    PRIMARY KEY (task_id, claim_id, ended_at)
) PARTITION BY RANGE (ended_at);
COMMENT ON TABLE {{schema}}.attempts IS 'Attempts that did not finish their task, in partitions as history. The last attempt of a task is in its history row.';
COMMENT ON COLUMN {{schema}}.attempts.kind IS 'The kind of the error, or snooze, release, isolate, lost, crash, expired, cancelled, deleted.';
COMMENT ON COLUMN {{schema}}.attempts.claim_id IS '0 for a task that was cancelled before it was claimed.';
CREATE TABLE {{schema}}.attempts_default PARTITION OF {{schema}}.attempts DEFAULT;
COMMENT ON TABLE {{schema}}.attempts_default IS 'The net: rows of a day that has no partition.';

-- Arguments, results and logs too, where the server was built with lz4: about as small
-- as with pglz, in a fraction of the time.
DO $$ BEGIN
    ALTER TABLE {{schema}}.runnable_tasks ALTER COLUMN args SET COMPRESSION lz4;
    ALTER TABLE {{schema}}.scheduled_tasks ALTER COLUMN args SET COMPRESSION lz4;
    ALTER TABLE {{schema}}.popped ALTER COLUMN args SET COMPRESSION lz4;
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

CREATE TABLE {{schema}}.runners (
    id bigint PRIMARY KEY DEFAULT nextval('{{schema}}.runner_ids'),
    name text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    slots integer NOT NULL,
    queues text[] NOT NULL,
    busy integer NOT NULL DEFAULT 0,
    held integer NOT NULL DEFAULT 0,
    draining boolean NOT NULL DEFAULT false,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    plugins json NOT NULL DEFAULT '{}',
    progress json NOT NULL DEFAULT '{}',
    ticket_hash bytea,
    steady_since timestamptz NOT NULL DEFAULT now(),
    backend integer,
    started bigint[],
    judged boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 20);
COMMENT ON TABLE {{schema}}.runners IS 'Processes that execute tasks. When expires_at has passed, rescue takes the runner''s claims.';
COMMENT ON COLUMN {{schema}}.runners.steady_since IS 'Since when the heartbeats have come without a gap of more than 8 seconds.';
COMMENT ON COLUMN {{schema}}.runners.backend IS 'Server process of the heartbeat''s connection; null behind a pooler.';
COMMENT ON COLUMN {{schema}}.runners.started IS 'Tasks that had started at the last heartbeat; null: all that it holds may have. After judged: all that may have started.';
COMMENT ON COLUMN {{schema}}.runners.judged IS 'The lease ran out, and rescue has noted in started which tasks may have been running.';
COMMENT ON COLUMN {{schema}}.runners.held IS 'Tasks that it had claimed and not started at its last beat.';
COMMENT ON COLUMN {{schema}}.runners.ticket_hash IS 'sha256 of the secret that this runner shows to the functions that end in _in_task.';

CREATE TABLE {{schema}}.handlers (
    runner_id bigint NOT NULL REFERENCES {{schema}}.runners ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL CONSTRAINT handler_name CHECK (name ~ '^[A-Za-z0-9_.:-]{1,128}$'),
    info json NOT NULL,
    digest bytea NOT NULL,
    file text NOT NULL,
    plugin text NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (runner_id, name)
);
COMMENT ON TABLE {{schema}}.handlers IS 'What each live runner can run.';

CREATE TABLE {{schema}}.pauses (
    kind text NOT NULL CONSTRAINT pause_kind CHECK (kind IN ('queue', 'handler')),
    name text COLLATE "C" NOT NULL CONSTRAINT pause_name CHECK (name ~ '^[A-Za-z0-9_.:-]{1,128}$'),
    paused_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, name)
);
COMMENT ON TABLE {{schema}}.pauses IS 'Queues and handlers whose tasks are not claimed now.';

CREATE TABLE {{schema}}.cancellations (
    claim_id bigint NOT NULL,
    task_id bigint NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (claim_id, task_id)
);
COMMENT ON TABLE {{schema}}.cancellations IS 'Running tasks that somebody asked to cancel.';

-- A task whose runner was lost while it ran. It counts as a crash only when it is
-- proven that the runner died: see count_crashes.
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
COMMENT ON TABLE {{schema}}.crash_reports IS 'Tasks whose runner was lost while they ran. Kept for a day, or until the runner comes back.';
COMMENT ON COLUMN {{schema}}.crash_reports.solo IS 'It was the only suspect that ran there.';
COMMENT ON COLUMN {{schema}}.crash_reports.alone IS 'It was the only task that ran there.';
COMMENT ON COLUMN {{schema}}.crash_reports.counted IS 'By how much crashes grew; null: not proven yet.';
CREATE INDEX crash_reports_runner ON {{schema}}.crash_reports (runner_id);
CREATE INDEX crash_reports_open ON {{schema}}.crash_reports (reported_at) WHERE counted IS NULL;

-- Written by the push functions only, which check; no CHECK here, for the reason above.
CREATE TABLE {{schema}}.keys (
    queue text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    scope text COLLATE "C" NOT NULL DEFAULT '',
    task_id bigint NOT NULL,
    until smallint NOT NULL DEFAULT 0,
    expires_at timestamptz,
    ttl interval,
    handler text COLLATE "C" NOT NULL,
    priority integer NOT NULL,
    group_key text COLLATE "C",
    first_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (queue, key, scope)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE {{schema}}.keys IS 'Idempotency keys: one task for each queue, key and scope, until expires_at and for as long as the task waits or runs.';
COMMENT ON COLUMN {{schema}}.keys.scope IS 'Whose key it is: empty for applications, else the plugin whose handler pushed the task.';
COMMENT ON COLUMN {{schema}}.keys.until IS 'What ends the key: 0 its expires_at. Reserved: 1 the start of its task, 2 its end, 3 a period.';
COMMENT ON COLUMN {{schema}}.keys.expires_at IS 'From this time on the key is free, unless its task still waits or runs. Prune deletes it then.';
COMMENT ON COLUMN {{schema}}.keys.ttl IS 'How long the key counts after its task is due; null: the retention.';
COMMENT ON COLUMN {{schema}}.keys.handler IS 'With queue and priority: the lane in which the waiting task is found by its id.';
COMMENT ON COLUMN {{schema}}.keys.group_key IS 'Reserved for groups.';
COMMENT ON COLUMN {{schema}}.keys.first_at IS 'When the first push with this key came.';
-- For prune.
CREATE INDEX keys_expires ON {{schema}}.keys (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE {{schema}}.settings (
    name text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);
COMMENT ON TABLE {{schema}}.settings IS 'What functions of the schema must know about the installation. retention: how long history is kept, as the last prune was told; keys live as long.';

CREATE TABLE {{schema}}.task_state (
    task_id bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    value json NOT NULL,
    claim_id bigint NOT NULL,
    saved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (task_id, name)
);
COMMENT ON TABLE {{schema}}.task_state IS 'What handlers saved for later attempts of their task. Goes with the task''s completion, else with its history.';

-- Written about once a second by runners for attempts that run longer than
-- that, deleted when the attempt has ended and its log is stored with it. Not
-- worth its weight in WAL: after a crash of the server it is empty. The key
-- serves who reads one task, and who deletes one attempt.
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
COMMENT ON TABLE {{schema}}.log_lines IS 'Log lines of attempts that still run, or whose runner died. Read the view live_logs instead.';
COMMENT ON COLUMN {{schema}}.log_lines.at_ms IS 'Milliseconds since the attempt started, as in stored logs.';

CREATE TABLE {{schema}}.rights (
    kind text NOT NULL CONSTRAINT right_kind CHECK (kind IN ('pusher', 'worker', 'viewer', 'runner', 'deployer', 'admin')),
    class text NOT NULL CONSTRAINT right_class CHECK (class IN ('table', 'sequence', 'function')),
    object text NOT NULL,
    privilege text NOT NULL CONSTRAINT right_privilege
        CHECK (privilege ~ '^(SELECT|INSERT|UPDATE|DELETE|USAGE|EXECUTE)( \([a-z_, ]+\))?$'),
    PRIMARY KEY (kind, class, object, privilege)
);
COMMENT ON TABLE {{schema}}.rights IS 'What each kind of user may do. A function stands for all of its name; a table may be a view; columns stand behind the privilege.';

CREATE TABLE {{schema}}.granted (
    kind text NOT NULL,
    role name NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, role)
);
COMMENT ON TABLE {{schema}}.granted IS 'Which roles were made what by grant_role.';
