-- serves: 1
-- The tables of the queue. A task is in exactly one of them: the table is its
-- state. {{schema}} stands for the schema's name, quoted. Functions and views are in
-- migrations/functions; README.md says how both are changed.
--
-- This file: tasks that wait, their keys, and what is kept with them.
--
-- Every time is the database's. Every id is a bigint from a sequence; gaps are legal.
--
-- What a task keeps while it moves from table to table is one list of columns, in
-- runner/store/src/sql/columns.rs: {{carried}} stands for it in statements, {{carried t}} for t's.

CREATE SEQUENCE {{schema}}.task_ids;
COMMENT ON SEQUENCE {{schema}}.task_ids IS 'Ids of tasks, and their positions in a lane.';

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

-- Arguments are compressed with lz4, where the server was built with it: about as small
-- as with pglz, in a fraction of the time.
DO $$ BEGIN
    ALTER TABLE {{schema}}.runnable_tasks ALTER COLUMN args SET COMPRESSION lz4;
    ALTER TABLE {{schema}}.scheduled_tasks ALTER COLUMN args SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN NULL;
END $$;

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

CREATE TABLE {{schema}}.pauses (
    kind text NOT NULL CONSTRAINT pause_kind CHECK (kind IN ('queue', 'handler')),
    name text COLLATE "C" NOT NULL CONSTRAINT pause_name CHECK (name ~ '^[A-Za-z0-9_.:-]{1,128}$'),
    paused_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, name)
);
COMMENT ON TABLE {{schema}}.pauses IS 'Queues and handlers whose tasks are not claimed now.';

INSERT INTO {{schema}}.settings (name, value) VALUES ('retention', '7 days'), ('retention_failed', '7 days'), ('prune_state_after', '0');
