-- Runners and their handlers; kinds of roles and the roles that have them.

CREATE SEQUENCE {{schema}}.runner_ids;
COMMENT ON SEQUENCE {{schema}}.runner_ids IS 'Ids of runners, one for each registration of a process.';

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
COMMENT ON TABLE {{schema}}.runners IS 'Processes that execute tasks. After expires_at, rescue takes the runner''s claims.';
COMMENT ON COLUMN {{schema}}.runners.steady_since IS 'Start of the period in which heartbeats came without a gap of more than 8 seconds.';
COMMENT ON COLUMN {{schema}}.runners.backend IS 'Server process of the heartbeat''s connection; null behind a pooler.';
COMMENT ON COLUMN {{schema}}.runners.started IS 'Tasks that had started at the last heartbeat; null: possibly all of its tasks. If judged: all tasks that may have started.';
COMMENT ON COLUMN {{schema}}.runners.judged IS 'The lease expired, and rescue has stored in started which tasks may have been running.';
COMMENT ON COLUMN {{schema}}.runners.held IS 'Claimed tasks that it had not started at its last heartbeat.';
COMMENT ON COLUMN {{schema}}.runners.ticket_hash IS 'sha256 of the secret that this runner passes to the functions that end in _in_task.';

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
COMMENT ON TABLE {{schema}}.handlers IS 'The handlers of each live runner.';

CREATE TABLE {{schema}}.role_privileges (
    kind text NOT NULL CONSTRAINT privilege_kind CHECK (kind IN ('pusher', 'worker', 'viewer', 'runner', 'deployer', 'admin')),
    class text NOT NULL CONSTRAINT privilege_class CHECK (class IN ('table', 'sequence', 'function')),
    object text NOT NULL,
    privilege text NOT NULL CONSTRAINT privilege_form
        CHECK (privilege ~ '^(SELECT|INSERT|UPDATE|DELETE|USAGE|EXECUTE)( \([a-z_, ]+\))?$'),
    PRIMARY KEY (kind, class, object, privilege)
);
COMMENT ON TABLE {{schema}}.role_privileges IS 'The privileges of each kind of role. A function name stands for all functions of this name; a table can be a view; columns follow the privilege.';

CREATE TABLE {{schema}}.role_grants (
    kind text NOT NULL,
    role name NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, role)
);
COMMENT ON TABLE {{schema}}.role_grants IS 'The kinds that grant_role granted to each role.';
