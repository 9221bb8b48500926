-- serves: 1
-- The tables of the queue. A task is in exactly one of them: the table is its state.
-- {{schema}} stands for the quoted name of the schema. Functions and views are in
-- migrations/functions; README.md describes how to change both.
--
-- This file: waiting tasks, their keys, and the data stored with them.
--
-- All times are the database's. All ids are bigints from a sequence; gaps are legal.
--
-- The columns that a task keeps in every table are one list, in
-- runner/store/src/sql/columns.rs: {{carried}} stands for it in statements, {{carried t}}
-- for the columns of t.

CREATE SEQUENCE {{schema}}.task_ids;
COMMENT ON SEQUENCE {{schema}}.task_ids IS 'Ids of tasks, and their positions in a lane.';

-- Wake-up flags. A runner without work sets a flag; the first push that sees it clears it
-- and notifies. The name of the queue selects one of sixteen flags; a runner that serves
-- all other queues sets all of them. A flag is a sequence, because sequences are outside
-- of transactions: a check reads one page, there are no dead rows under an old snapshot,
-- and a crashed runner leaves nothing to clean up. The flag is set while the value is a
-- multiple of 1024; nextval clears it, and returns the first value to exactly one of
-- several pushes.
DO $$ BEGIN
    FOR flag IN 0 .. 15 LOOP
        EXECUTE format('CREATE SEQUENCE {{schema}}.wake_%s', flag);
        EXECUTE format('COMMENT ON SEQUENCE {{schema}}.wake_%s IS ''Wake-up flag: set while its value is a multiple of 1024.''', flag);
    END LOOP;
END $$;

-- PostgreSQL parses the CHECK constraints of a table again for every INSERT statement:
-- for one row this was two thirds of the insert (150,000 of 224,000 instructions). The
-- push functions check a runnable task; only the schema's owner and runners write here
-- directly. A counted repetition such as {1,128} costs 15 us for a name of eleven
-- letters; the two checks that replace it cost less than 1 us.
--
-- Tasks are claimed in the order of the primary key: one lane for each (queue, handler,
-- priority), tasks of a lane by position. A new task has position = id. A task that
-- returns gets a new position after every claimer's cursor, so that cursors never move
-- back.
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
COMMENT ON COLUMN {{schema}}.runnable_tasks.traits IS 'Rarely used properties: a JSON object, carried through every transition. A runner defers a task with a field that it does not know, unless the name of the field begins with _.';

-- For find_runnable: a new task is found by position = id in its lane, so only returned
-- tasks need an entry. An index on all ids would raise a bulk push from 73,300 to 81,400
-- instructions per task and from 224 to 290 bytes of WAL; a claim would cost the same.
-- BRIN costs as much where pushes fill freed pages again.
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
COMMENT ON TABLE {{schema}}.scheduled_tasks IS 'Tasks that are not due yet, including retries. Read the view scheduled instead.';
CREATE INDEX scheduled_run_at ON {{schema}}.scheduled_tasks (run_at, id);
CREATE INDEX scheduled_parent ON {{schema}}.scheduled_tasks (parent) WHERE parent IS NOT NULL;

-- lz4 compresses arguments about as well as pglz, in a fraction of the time. Not every
-- server is built with it.
DO $$ BEGIN
    ALTER TABLE {{schema}}.runnable_tasks ALTER COLUMN args SET COMPRESSION lz4;
    ALTER TABLE {{schema}}.scheduled_tasks ALTER COLUMN args SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN NULL;
END $$;

-- Only the push functions write here, and they check; there is no CHECK, for the reason
-- above.
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
COMMENT ON TABLE {{schema}}.keys IS 'Idempotency keys: one task for each queue, key and scope, until expires_at and while the task waits or runs.';
COMMENT ON COLUMN {{schema}}.keys.scope IS 'Namespace of the key: empty for applications, otherwise the plugin whose handler pushed the task.';
COMMENT ON COLUMN {{schema}}.keys.until IS 'When the key ends: 0 at expires_at. Reserved: 1 at the start of its task, 2 at its end, 3 after a period.';
COMMENT ON COLUMN {{schema}}.keys.expires_at IS 'When the key is free again, unless its task still waits or runs. prune then deletes it.';
COMMENT ON COLUMN {{schema}}.keys.ttl IS 'How long the key stays in use after its task is due; null: the retention.';
COMMENT ON COLUMN {{schema}}.keys.handler IS 'With queue and priority: the lane of the waiting task.';
COMMENT ON COLUMN {{schema}}.keys.group_key IS 'Reserved for groups.';
COMMENT ON COLUMN {{schema}}.keys.first_at IS 'When the first push used this key.';
-- For prune.
CREATE INDEX keys_expires ON {{schema}}.keys (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE {{schema}}.settings (
    name text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);
COMMENT ON TABLE {{schema}}.settings IS 'Settings that functions of the schema read. retention: how long history is kept, from the last call of prune; also the default lifetime of keys.';

CREATE TABLE {{schema}}.task_state (
    task_id bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    value json NOT NULL,
    claim_id bigint NOT NULL,
    saved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (task_id, name)
);
COMMENT ON TABLE {{schema}}.task_state IS 'Values that handlers saved for later attempts of their task. Deleted when the task completes, or with its history.';

CREATE TABLE {{schema}}.pauses (
    kind text NOT NULL CONSTRAINT pause_kind CHECK (kind IN ('queue', 'handler')),
    name text COLLATE "C" NOT NULL CONSTRAINT pause_name CHECK (name ~ '^[A-Za-z0-9_.:-]{1,128}$'),
    paused_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, name)
);
COMMENT ON TABLE {{schema}}.pauses IS 'Paused queues and handlers, whose tasks are not claimed.';

INSERT INTO {{schema}}.settings (name, value) VALUES ('retention', '7 days'), ('retention_failed', '7 days'), ('prune_state_after', '0');
