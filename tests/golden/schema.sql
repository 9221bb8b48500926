CREATE SCHEMA pgtq;

COMMENT ON SCHEMA pgtq IS 'pgtq: a task queue. Push with push(handler, args); read the views scheduled, runnable, running, complete, failed, cancelled.';

CREATE FUNCTION pgtq.add_crash(task bigint, after_claim bigint, delta integer, most integer DEFAULT 2147483647) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.add_crash(task bigint, after_claim bigint, delta integer, most integer) IS 'Changes the crashes of an unfinished task. For count_crashes and withdraw_crashes.';

CREATE FUNCTION pgtq.add_partition(parent text, low timestamp with time zone, high timestamp with time zone, most integer DEFAULT 100000) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET "DateStyle" TO 'ISO'
    AS ...;

COMMENT ON FUNCTION pgtq.add_partition(parent text, low timestamp with time zone, high timestamp with time zone, most integer) IS 'Creates one partition. False: the table is in use, or the default partition has too many rows of the range. For prune.';

CREATE FUNCTION pgtq.allow_sql(role text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.allow_sql(role text) IS 'Lets handlers'' SQL run as this role: it can then complete tasks with a runner''s ticket, and has no other privileges in this schema.';

CREATE FUNCTION pgtq.apply_rights() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.apply_rights() IS 'Grants every role the privileges of its kinds again. Called by migrations.';

CREATE FUNCTION pgtq.cancel(id bigint) RETURNS text
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.cancel(id bigint) IS 'Cancels a task. Returns its state: cancelled; running (it was asked to stop); complete or failed (too late); null if it does not exist.';

CREATE FUNCTION pgtq.cancel_tasks(ids bigint[]) RETURNS TABLE(id bigint, was text, changed boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET jit TO 'off'
    AS ...;

COMMENT ON FUNCTION pgtq.cancel_tasks(ids bigint[]) IS 'Cancels waiting tasks at once, and asks the runners of running ones to stop them. Returns the state in which each was found (null: it does not exist) and whether it was changed. Waits at most 5 seconds (or lock_timeout) for a transaction that has locked a task; then error 55P03 names the task.';

CREATE FUNCTION pgtq.change_task(task bigint, queue text DEFAULT NULL::text, handler text DEFAULT NULL::text, priority integer DEFAULT NULL::integer, args text DEFAULT NULL::text, patch jsonb DEFAULT NULL::jsonb, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, replace boolean DEFAULT false, retries integer DEFAULT NULL::integer, key_ttl interval DEFAULT NULL::interval) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.change_task(task bigint, queue text, handler text, priority integer, args text, patch jsonb, run_at timestamp with time zone, replace boolean, retries integer, key_ttl interval) IS 'Changes a waiting task. Returns its state: scheduled or runnable if it was changed. For the other functions.';

CREATE FUNCTION pgtq.check_ages(retention interval, failed interval, batch integer) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.check_ages(retention interval, failed interval, batch integer) IS 'Rejects negative ages, with a hint. For prune and prune_state.';

CREATE FUNCTION pgtq.check_delay(name text, delay interval) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.check_delay(name text, delay interval) IS 'Rejects a delay that is negative or too long. For fail and release.';

CREATE FUNCTION pgtq.check_lease(lease interval) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.check_lease(lease interval) IS 'Rejects a lease that is not positive or too long. For pop and extend.';

CREATE FUNCTION pgtq.check_task(handler text, args text, queue text, delay interval, run_at timestamp with time zone, retries integer, key text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.check_task(handler text, args text, queue text, delay interval, run_at timestamp with time zone, retries integer, key text) IS 'Rejects an invalid task, with a hint.';

CREATE FUNCTION pgtq.checkpoint_in_task(ticket bytea, runner bigint, claim bigint, task bigint, value text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.checkpoint_in_task(ticket bytea, runner bigint, claim bigint, task bigint, value text) IS 'Saves the checkpoint of a task, as the last statement in a transaction of its handler. For runners. False: the claim is gone; roll back.';

CREATE FUNCTION pgtq.client_bytes(task bigint, args json, traits jsonb, key text) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.client_bytes(task bigint, args json, traits jsonb, key text) IS 'The size of the arguments in bytes; null: the server cannot read a value of the task, or send it to this client. For pop.';

CREATE FUNCTION pgtq.complete(id bigint, token uuid, result anycompatible DEFAULT NULL::json) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.complete(id bigint, token uuid, result anycompatible) IS 'Completes a popped task with a result (text, json or jsonb). False: the task is no longer held with this token (the lease expired, or the attempt has ended), and nothing changed.';

CREATE FUNCTION pgtq.complete_in_task(ticket bytea, runner bigint, claim bigint, task bigint, queue text, handler text, priority integer, args json, result text, logs text, logs_dropped bigint, attempts integer, crashes integer, retries integer, pushed_at timestamp with time zone, due_at timestamp with time zone, since_start double precision, since_end double precision, fuel bigint, peak_memory bigint, wall_us bigint, digest bytea, key text, parent bigint, traits jsonb, child_handlers text[], child_args text[], child_queues text[], child_priorities integer[], child_delays double precision[], child_run_ats timestamp with time zone[], child_retries integer[], child_keys text[], child_scopes text[]) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.complete_in_task(ticket bytea, runner bigint, claim bigint, task bigint, queue text, handler text, priority integer, args json, result text, logs text, logs_dropped bigint, attempts integer, crashes integer, retries integer, pushed_at timestamp with time zone, due_at timestamp with time zone, since_start double precision, since_end double precision, fuel bigint, peak_memory bigint, wall_us bigint, digest bytea, key text, parent bigint, traits jsonb, child_handlers text[], child_args text[], child_queues text[], child_priorities integer[], child_delays double precision[], child_run_ats timestamp with time zone[], child_retries integer[], child_keys text[], child_scopes text[]) IS 'Completes a task with a result, as the last statement in the transaction of its handler. For runners. False: the claim is gone; roll back.';

CREATE FUNCTION pgtq.complete_many(ids bigint[], tokens uuid[], results anycompatiblearray DEFAULT NULL::json[]) RETURNS SETOF bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS ...;

COMMENT ON FUNCTION pgtq.complete_many(ids bigint[], tokens uuid[], results anycompatiblearray) IS 'Completes popped tasks with their results (text, json or jsonb). Returns the ids of the completed tasks; the others are no longer held with these tokens.';

CREATE FUNCTION pgtq.count_crashes(max_crashes integer DEFAULT 3) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.count_crashes(max_crashes integer) IS 'Counts reported crashes that are proven, and fails tasks that have reached the limit. Returns how many failed. For rescue.';

CREATE FUNCTION pgtq.crash_wait() RETURNS interval
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.crash_wait() IS 'How long a lost runner can take to return before its loss is a crash: a lease and a margin.';

CREATE FUNCTION pgtq.delete_others(child regclass, which text, page bigint) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.delete_others(child regclass, which text, page bigint) IS 'Deletes the rows of 2,000 pages of a partition, except those to keep. Returns the page at which to continue; null: the end. For prune.';

CREATE FUNCTION pgtq.delete_tasks(ids bigint[]) RETURNS TABLE(id bigint, was text, changed boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET jit TO 'off'
    AS ...;

COMMENT ON FUNCTION pgtq.delete_tasks(ids bigint[]) IS 'Deletes tasks with their attempts and keys, except running ones. Returns the state in which each was found (null: it does not exist) and whether it was deleted. Waits at most 5 seconds (or lock_timeout) for a transaction that has locked a task; then error 55P03 names the task.';

CREATE FUNCTION pgtq.demand(queues text[] DEFAULT NULL::text[], cap integer DEFAULT 10000) RETURNS bigint
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.demand(queues text[], cap integer) IS 'The number of due and running tasks, counted up to cap. For autoscalers.';

CREATE FUNCTION pgtq.drain(runner text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.drain(runner text) IS 'Asks live runners with this name or id to claim no more tasks, finish their running ones, and stop. Returns how many were asked.';

CREATE FUNCTION pgtq.edit(id bigint, args json) RETURNS text
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.edit(id bigint, args json) IS 'As edit(bigint, text, jsonb), with arguments of type json.';

CREATE FUNCTION pgtq.edit(id bigint, args jsonb) RETURNS text
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.edit(id bigint, args jsonb) IS 'As edit(bigint, text, jsonb), with arguments of type jsonb.';

CREATE FUNCTION pgtq.edit(id bigint, args text DEFAULT NULL::text, patch jsonb DEFAULT NULL::jsonb) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.edit(id bigint, args text, patch jsonb) IS 'Sets the arguments of a waiting task, or some of their fields. Returns its state: scheduled or runnable if it was changed; running, complete, failed or cancelled if it was too late; null if it does not exist.';

CREATE FUNCTION pgtq.empty_default(parent text, oldest timestamp with time zone, batch integer, OUT deleted bigint, OUT moved boolean) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    AS ...;

COMMENT ON FUNCTION pgtq.empty_default(parent text, oldest timestamp with time zone, batch integer, OUT deleted bigint, OUT moved boolean) IS 'Removes rows from a default partition. For prune.';

CREATE FUNCTION pgtq.expire_popped(since timestamp with time zone, before timestamp with time zone, most integer, lost_from timestamp with time zone, lost_to timestamp with time zone) RETURNS TABLE(returned bigint, failed bigint, cancelled bigint, more boolean)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS ...;

COMMENT ON FUNCTION pgtq.expire_popped(since timestamp with time zone, before timestamp with time zone, most integer, lost_from timestamp with time zone, lost_to timestamp with time zone) IS 'Takes back popped tasks whose lease expired between the first two times, some at a time; counts an attempt, unless the lease expired between the other two. For tend.';

CREATE FUNCTION pgtq.extend(id bigint, token uuid, lease interval DEFAULT '00:05:00'::interval, OUT held boolean, OUT cancel_requested boolean) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.extend(id bigint, token uuid, lease interval, OUT held boolean, OUT cancel_requested boolean) IS 'Renews the lease of a popped task, counted from now. held is false if the task is no longer held with this token: stop working on it. cancel_requested: end the attempt soon, with fail or complete.';

CREATE FUNCTION pgtq.extend_many(ids bigint[], tokens uuid[], lease interval DEFAULT '00:05:00'::interval) RETURNS TABLE(id bigint, held boolean, cancel_requested boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS ...;

COMMENT ON FUNCTION pgtq.extend_many(ids bigint[], tokens uuid[], lease interval) IS 'Renews the leases of popped tasks, counted from now. Returns for each whether it is still held (if not, stop working on it), and whether a cancel was requested. A task whose row another transaction has locked is held, and its lease is not renewed.';

CREATE FUNCTION pgtq.fail(id bigint, token uuid, message text, retry_in interval DEFAULT NULL::interval, fatal boolean DEFAULT false, code text DEFAULT NULL::text, details anycompatible DEFAULT NULL::json) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.fail(id bigint, token uuid, message text, retry_in interval, fatal boolean, code text, details anycompatible) IS 'Ends an attempt of a popped task with an error: the task is retried (after retry_in, or a growing delay) while retries are left, unless fatal. False: the task is no longer held with this token, and nothing changed.';

CREATE FUNCTION pgtq.fail_crashed(task bigint, claim bigint, max_crashes integer) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.fail_crashed(task bigint, claim bigint, max_crashes integer) IS 'Fails a waiting task that has reached the limit of crashes. For count_crashes.';

CREATE FUNCTION pgtq.fail_many(ids bigint[], tokens uuid[], messages text[], retry_in interval DEFAULT NULL::interval, fatal boolean DEFAULT false, codes text[] DEFAULT NULL::text[], details anycompatiblearray DEFAULT NULL::json[]) RETURNS SETOF bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS ...;

COMMENT ON FUNCTION pgtq.fail_many(ids bigint[], tokens uuid[], messages text[], retry_in interval, fatal boolean, codes text[], details anycompatiblearray) IS 'Like fail, for many tasks. Returns the ids of tasks whose attempt it ended; the others are no longer held with these tokens.';

CREATE FUNCTION pgtq.find(key text, queue text DEFAULT 'default'::text) RETURNS TABLE(id bigint, state text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.find(key text, queue text) IS 'The task that has an idempotency key, and its state (null if its history has been deleted). No row: no task has the key.';

CREATE FUNCTION pgtq.find_runnable(ids bigint[]) RETURNS SETOF tid
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET jit TO 'off'
    AS ...;

COMMENT ON FUNCTION pgtq.find_runnable(ids bigint[]) IS 'The row positions of runnable tasks with these ids, as the calling statement sees them. For the other functions.';

CREATE FUNCTION pgtq.first_bytes(places tid[], most bigint) RETURNS tid[]
    LANGUAGE plpgsql STABLE STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.first_bytes(places tid[], most bigint) IS 'The first of these runnable rows whose arguments together are within the limit in bytes; at least one.';

CREATE TABLE pgtq.attempts (
    task_id bigint NOT NULL,
    claim_id bigint NOT NULL,
    number integer NOT NULL,
    kind text NOT NULL,
    error_code text,
    error_message text,
    error_details json,
    backtrace text[],
    logs json,
    logs_dropped bigint DEFAULT 0 NOT NULL,
    started_at timestamp with time zone,
    ended_at timestamp with time zone DEFAULT now() NOT NULL,
    fuel bigint,
    peak_memory bigint,
    wall_us bigint,
    digest bytea,
    runner_id bigint
)
PARTITION BY RANGE (ended_at);
ALTER TABLE ONLY pgtq.attempts ALTER COLUMN error_message SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.attempts ALTER COLUMN error_details SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.attempts ALTER COLUMN backtrace SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.attempts ALTER COLUMN logs SET COMPRESSION lz4;

COMMENT ON TABLE pgtq.attempts IS 'Attempts that did not finish their task, in partitions like history. The last attempt of a task is in its history row.';

COMMENT ON COLUMN pgtq.attempts.claim_id IS '0 for a task that was cancelled before it was claimed.';

COMMENT ON COLUMN pgtq.attempts.kind IS 'The kind of the error, or snooze, release, isolate, lost, crash, expired, cancelled, deleted.';

CREATE TABLE pgtq.claims (
    id bigint NOT NULL,
    runner_id bigint NOT NULL,
    claimed_at timestamp with time zone DEFAULT now() NOT NULL,
    solo boolean DEFAULT false NOT NULL,
    task_ids bigint[] NOT NULL,
    queues text[] NOT NULL,
    handlers text[] NOT NULL,
    priorities integer[] NOT NULL,
    attempts integer[] NOT NULL,
    crashes integer[] NOT NULL,
    retries integer[] NOT NULL,
    pushed_at timestamp with time zone[] NOT NULL,
    due_at timestamp with time zone[] NOT NULL,
    keys text[] NOT NULL,
    parents bigint[] NOT NULL,
    traits jsonb[],
    args json[] NOT NULL,
    CONSTRAINT claims_solo CHECK (((NOT solo) OR (cardinality(task_ids) = 1)))
)
WITH (autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_cost_delay='0');
ALTER TABLE ONLY pgtq.claims ALTER COLUMN task_ids SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.claims ALTER COLUMN queues SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.claims ALTER COLUMN handlers SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.claims ALTER COLUMN priorities SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.claims ALTER COLUMN attempts SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.claims ALTER COLUMN crashes SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.claims ALTER COLUMN retries SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.claims ALTER COLUMN pushed_at SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.claims ALTER COLUMN due_at SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.claims ALTER COLUMN keys SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.claims ALTER COLUMN parents SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.claims ALTER COLUMN traits SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.claims ALTER COLUMN args SET COMPRESSION lz4;

COMMENT ON TABLE pgtq.claims IS 'Batches of tasks assigned to a runner. Read the view running instead.';

COMMENT ON COLUMN pgtq.claims.solo IS 'Contains one suspect: a runner runs at most one such claim at a time.';

COMMENT ON COLUMN pgtq.claims.traits IS 'NULL if no task of the claim has traits.';

CREATE TABLE pgtq.history (
    id bigint NOT NULL,
    state text NOT NULL,
    priority integer NOT NULL,
    attempts integer NOT NULL,
    crashes integer NOT NULL,
    retries integer,
    queue text NOT NULL COLLATE pg_catalog."C",
    handler text NOT NULL COLLATE pg_catalog."C",
    args json NOT NULL,
    result json,
    error_kind text,
    error_code text,
    error_message text,
    error_details json,
    backtrace text[],
    logs json,
    logs_dropped bigint DEFAULT 0 NOT NULL,
    pushed_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone DEFAULT now() NOT NULL,
    fuel bigint,
    peak_memory bigint,
    wall_us bigint,
    digest bytea,
    runner_id bigint,
    claim_id bigint,
    key text COLLATE pg_catalog."C",
    parent bigint,
    traits jsonb,
    CONSTRAINT final_state CHECK ((state = ANY (ARRAY['complete'::text, 'failed'::text, 'cancelled'::text])))
)
PARTITION BY RANGE (finished_at);
ALTER TABLE ONLY pgtq.history ALTER COLUMN args SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.history ALTER COLUMN result SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.history ALTER COLUMN error_message SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.history ALTER COLUMN error_details SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.history ALTER COLUMN backtrace SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.history ALTER COLUMN logs SET COMPRESSION lz4;

COMMENT ON TABLE pgtq.history IS 'Finished tasks, in partitions of a day or more. Read the views complete, failed, cancelled instead.';

CREATE TABLE pgtq.popped (
    task_id bigint NOT NULL,
    token uuid NOT NULL,
    claim_id bigint NOT NULL,
    worker text NOT NULL,
    popped_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    handler text NOT NULL COLLATE pg_catalog."C",
    priority integer NOT NULL,
    attempts integer NOT NULL,
    crashes integer NOT NULL,
    retries integer,
    pushed_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    key text COLLATE pg_catalog."C",
    parent bigint,
    traits jsonb,
    args json NOT NULL,
    log_seq bigint DEFAULT 0 NOT NULL,
    fraction double precision,
    message text,
    reported_at timestamp with time zone,
    CONSTRAINT worker_name CHECK (((octet_length(worker) >= 1) AND (octet_length(worker) <= 128)))
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_cost_delay='0');
ALTER TABLE ONLY pgtq.popped ALTER COLUMN args SET COMPRESSION lz4;

COMMENT ON TABLE pgtq.popped IS 'Tasks that external workers hold. Read the view running instead: a reader of a token could end the task.';

COMMENT ON COLUMN pgtq.popped.claim_id IS 'Identifies the attempt in cancellations, log_lines, history and attempts.';

CREATE VIEW pgtq.in_flight AS
 SELECT c.id AS claim_id,
    c.runner_id,
    c.claimed_at,
    c.solo,
    t.id,
    (t.queue COLLATE "C") AS queue,
    (t.handler COLLATE "C") AS handler,
    t.priority,
    t.attempts,
    t.crashes,
    t.retries,
    t.pushed_at,
    t.due_at,
    (t.key COLLATE "C") AS key,
    t.parent,
    v.traits,
    v.args
   FROM ((pgtq.claims c
     CROSS JOIN LATERAL UNNEST(c.task_ids, c.queues, c.handlers, c.priorities, c.attempts, c.crashes, c.retries, c.pushed_at, c.due_at, c.keys, c.parents) WITH ORDINALITY t(id, queue, handler, priority, attempts, crashes, retries, pushed_at, due_at, key, parent, place))
     LEFT JOIN LATERAL ( SELECT DISTINCT ON (u.place) u.place,
            u.traits,
            u.args
           FROM UNNEST(c.traits, c.args) WITH ORDINALITY u(traits, args, place)) v ON ((v.place = t.place)))
  WHERE ((NOT (EXISTS ( SELECT
           FROM pgtq.history h
          WHERE ((h.id = t.id) AND (h.claim_id = c.id) AND (h.finished_at >= (c.claimed_at - '01:00:00'::interval)))))) AND (NOT (EXISTS ( SELECT
           FROM pgtq.attempts a
          WHERE ((a.task_id = t.id) AND (a.claim_id = c.id) AND (a.ended_at >= (c.claimed_at - '01:00:00'::interval)))))))
UNION ALL
 SELECT p.claim_id,
    NULL::bigint AS runner_id,
    p.popped_at AS claimed_at,
    false AS solo,
    p.task_id AS id,
    p.queue,
    p.handler,
    p.priority,
    p.attempts,
    p.crashes,
    p.retries,
    p.pushed_at,
    p.due_at,
    p.key,
    p.parent,
    p.traits,
    p.args
   FROM pgtq.popped p;

COMMENT ON VIEW pgtq.in_flight IS 'Unfinished tasks of live claims, and popped tasks. For the store; read running instead.';

CREATE TABLE pgtq.runnable_tasks (
    queue text NOT NULL COLLATE pg_catalog."C",
    handler text NOT NULL COLLATE pg_catalog."C",
    priority integer NOT NULL,
    "position" bigint NOT NULL,
    id bigint NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    crashes integer DEFAULT 0 NOT NULL,
    retries integer,
    pushed_at timestamp with time zone DEFAULT now() NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    key text COLLATE pg_catalog."C",
    parent bigint,
    traits jsonb,
    args json NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_cost_delay='0');
ALTER TABLE ONLY pgtq.runnable_tasks ALTER COLUMN args SET COMPRESSION lz4;

COMMENT ON TABLE pgtq.runnable_tasks IS 'Tasks that are due. Read the view runnable instead.';

COMMENT ON COLUMN pgtq.runnable_tasks.traits IS 'Rarely used properties: a JSON object, carried through every transition. A runner defers a task with a field that it does not know, unless the name of the field begins with _.';

CREATE VIEW pgtq.runnable AS
 SELECT runnable_tasks.id,
    'runnable'::text AS state,
    runnable_tasks.queue,
    runnable_tasks.handler,
    runnable_tasks.priority,
    runnable_tasks.args,
    NULL::json AS result,
    NULL::text AS error_kind,
    NULL::text AS error_code,
    NULL::text AS error_message,
    runnable_tasks.attempts,
    runnable_tasks.crashes,
    runnable_tasks.retries,
    runnable_tasks.pushed_at,
    runnable_tasks.due_at,
    NULL::timestamp with time zone AS started_at,
    NULL::timestamp with time zone AS finished_at,
    NULL::bigint AS runner_id,
    NULL::bigint AS claim_id,
    runnable_tasks.key,
    runnable_tasks.parent
   FROM pgtq.runnable_tasks;

COMMENT ON VIEW pgtq.runnable IS 'Tasks that are due: the next free runner with the handler takes them. A condition on the id reads all of them; get(id) does not.';

CREATE VIEW pgtq.running AS
 SELECT in_flight.id,
    'running'::text AS state,
    in_flight.queue,
    in_flight.handler,
    in_flight.priority,
    in_flight.args,
    NULL::json AS result,
    NULL::text AS error_kind,
    NULL::text AS error_code,
    NULL::text AS error_message,
    in_flight.attempts,
    in_flight.crashes,
    in_flight.retries,
    in_flight.pushed_at,
    in_flight.due_at,
    in_flight.claimed_at AS started_at,
    NULL::timestamp with time zone AS finished_at,
    in_flight.runner_id,
    in_flight.claim_id,
    in_flight.key,
    in_flight.parent
   FROM pgtq.in_flight;

COMMENT ON VIEW pgtq.running IS 'Tasks that a runner or an external worker has claimed. started_at is the time of the claim.';

CREATE TABLE pgtq.scheduled_tasks (
    id bigint NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    handler text NOT NULL COLLATE pg_catalog."C",
    priority integer NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    crashes integer DEFAULT 0 NOT NULL,
    retries integer,
    pushed_at timestamp with time zone DEFAULT now() NOT NULL,
    run_at timestamp with time zone NOT NULL,
    key text COLLATE pg_catalog."C",
    parent bigint,
    traits jsonb,
    args json NOT NULL,
    CONSTRAINT args_size CHECK ((octet_length((args)::text) <= 1048576)),
    CONSTRAINT handler_name CHECK (((handler !~ '[^A-Za-z0-9_.:-]'::text) AND ((octet_length(handler) >= 1) AND (octet_length(handler) <= 128)))),
    CONSTRAINT queue_name CHECK (((queue !~ '[^A-Za-z0-9_.:-]'::text) AND ((octet_length(queue) >= 1) AND (octet_length(queue) <= 128)))),
    CONSTRAINT retries_count CHECK ((retries >= '-1'::integer)),
    CONSTRAINT run_at_sane CHECK ((isfinite(run_at) AND (run_at < '9000-01-01 00:00:00+00'::timestamp with time zone)))
)
WITH (autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_cost_delay='0');
ALTER TABLE ONLY pgtq.scheduled_tasks ALTER COLUMN args SET COMPRESSION lz4;

COMMENT ON TABLE pgtq.scheduled_tasks IS 'Tasks that are not due yet, including retries. Read the view scheduled instead.';

CREATE VIEW pgtq.scheduled AS
 SELECT scheduled_tasks.id,
    'scheduled'::text AS state,
    scheduled_tasks.queue,
    scheduled_tasks.handler,
    scheduled_tasks.priority,
    scheduled_tasks.args,
    NULL::json AS result,
    NULL::text AS error_kind,
    NULL::text AS error_code,
    NULL::text AS error_message,
    scheduled_tasks.attempts,
    scheduled_tasks.crashes,
    scheduled_tasks.retries,
    scheduled_tasks.pushed_at,
    scheduled_tasks.run_at AS due_at,
    NULL::timestamp with time zone AS started_at,
    NULL::timestamp with time zone AS finished_at,
    NULL::bigint AS runner_id,
    NULL::bigint AS claim_id,
    scheduled_tasks.key,
    scheduled_tasks.parent
   FROM pgtq.scheduled_tasks;

COMMENT ON VIEW pgtq.scheduled IS 'Tasks that are not due yet (due_at), including retries.';

CREATE VIEW pgtq.tasks AS
 SELECT scheduled.id,
    scheduled.state,
    scheduled.queue,
    scheduled.handler,
    scheduled.priority,
    scheduled.args,
    scheduled.result,
    scheduled.error_kind,
    scheduled.error_code,
    scheduled.error_message,
    scheduled.attempts,
    scheduled.crashes,
    scheduled.retries,
    scheduled.pushed_at,
    scheduled.due_at,
    scheduled.started_at,
    scheduled.finished_at,
    scheduled.runner_id,
    scheduled.claim_id,
    scheduled.key,
    scheduled.parent
   FROM pgtq.scheduled
UNION ALL
 SELECT runnable.id,
    runnable.state,
    runnable.queue,
    runnable.handler,
    runnable.priority,
    runnable.args,
    runnable.result,
    runnable.error_kind,
    runnable.error_code,
    runnable.error_message,
    runnable.attempts,
    runnable.crashes,
    runnable.retries,
    runnable.pushed_at,
    runnable.due_at,
    runnable.started_at,
    runnable.finished_at,
    runnable.runner_id,
    runnable.claim_id,
    runnable.key,
    runnable.parent
   FROM pgtq.runnable
UNION ALL
 SELECT running.id,
    running.state,
    running.queue,
    running.handler,
    running.priority,
    running.args,
    running.result,
    running.error_kind,
    running.error_code,
    running.error_message,
    running.attempts,
    running.crashes,
    running.retries,
    running.pushed_at,
    running.due_at,
    running.started_at,
    running.finished_at,
    running.runner_id,
    running.claim_id,
    running.key,
    running.parent
   FROM pgtq.running
UNION ALL
 SELECT history.id,
    history.state,
    history.queue,
    history.handler,
    history.priority,
    history.args,
    history.result,
    history.error_kind,
    history.error_code,
    history.error_message,
    history.attempts,
    history.crashes,
    history.retries,
    history.pushed_at,
    history.due_at,
    history.started_at,
    history.finished_at,
    history.runner_id,
    history.claim_id,
    history.key,
    history.parent
   FROM pgtq.history;

COMMENT ON VIEW pgtq.tasks IS 'Every task in its state: the union of scheduled, runnable, running, complete, failed and cancelled. For one task by its id, use get(id): a condition on the id of this view reads all runnable tasks.';

CREATE FUNCTION pgtq.get(id bigint) RETURNS SETOF pgtq.tasks
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.get(id bigint) IS 'One task with the columns of the view tasks, found by indexes. The view itself reads all runnable tasks for an id.';

CREATE FUNCTION pgtq.grant_role(kind text, role text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.grant_role(kind text, role text) IS 'Makes a role a pusher, worker, viewer, runner, deployer or admin; can be repeated. Returns what it could not grant, or null.';

CREATE FUNCTION pgtq.holds_endings(child regclass, parent text, high timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.holds_endings(child regclass, parent text, high timestamp with time zone) IS 'Whether a live claim has outcomes in this partition. For prune.';

CREATE FUNCTION pgtq.is_held(ticket bytea, runner bigint, claim bigint) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.is_held(ticket bytea, runner bigint, claim bigint) IS 'Whether the runner still holds the claim; an error if the ticket is not the runner''s. For the functions that end in _in_task.';

CREATE FUNCTION pgtq.judge_runner(runner bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.judge_runner(runner bigint) IS 'Stores which tasks of a lost runner may have been running, and terminates its SQL transactions. For rescue.';

CREATE FUNCTION pgtq.kept_rows_fit(child regclass, which text) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.kept_rows_fit(child regclass, which text) IS 'Whether the rows to keep of a partition are few enough for a copy. For prune.';

CREATE FUNCTION pgtq.live_among(ids bigint[]) RETURNS TABLE(claim_id bigint, id bigint)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS ...;

COMMENT ON FUNCTION pgtq.live_among(ids bigint[]) IS 'Which of these tasks are running, and in which claim. For the other functions.';

CREATE FUNCTION pgtq.log(id bigint, token uuid, message text, level text DEFAULT 'info'::text, fields anycompatible DEFAULT NULL::json) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.log(id bigint, token uuid, message text, level text, fields anycompatible) IS 'Adds a line to the log of a popped task: live_logs shows it now, and it is stored with the attempt. False: the task is no longer held with this token.';

CREATE FUNCTION pgtq.make_partitions(ahead integer DEFAULT 3) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    AS ...;

COMMENT ON FUNCTION pgtq.make_partitions(ahead integer) IS 'Creates the partitions of today and the next days, if their tables are not in use. Returns how many.';

CREATE FUNCTION pgtq.make_runnable(task bigint) RETURNS void
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.make_runnable(task bigint) IS 'Makes one scheduled task runnable. For change_task.';

CREATE FUNCTION pgtq.move(id bigint, queue text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.move(id bigint, queue text) IS 'Moves a waiting task and its key to another queue; error 23505 if the key is in use there. Returns its state: scheduled or runnable if it was changed; running, complete, failed or cancelled if it was too late; null if it does not exist.';

CREATE FUNCTION pgtq.move_lane_starts(bound bigint, recheck bigint) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS ...;

COMMENT ON FUNCTION pgtq.move_lane_starts(bound bigint, recheck bigint) IS 'Moves the positions at which pop starts past removed tasks, and searches below them again for 50 ms. Returns where to continue. For tend.';

CREATE FUNCTION pgtq.need_read_committed(what text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.need_read_committed(what text) IS 'Rejects an isolation level whose snapshot hides later commits. For the other functions.';

CREATE FUNCTION pgtq.note_unreadable(task bigint, reason text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.note_unreadable(task bigint, reason text) IS 'Names a task that cannot be read, once per session and ten minutes. For stored_bytes and client_bytes.';

CREATE FUNCTION pgtq.note_worker(worker text, queues text[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.note_worker(worker text, queues text[]) IS 'Stores which queues this session works on. For pop.';

CREATE FUNCTION pgtq.notify_runners() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.notify_runners() IS 'Makes runners send a heartbeat now, which returns cancellations to them. Does nothing after SET LOCAL pgtq.notify = off. For cancel and drain.';

CREATE FUNCTION pgtq.partition_days(retention interval) RETURNS integer
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.partition_days(retention interval) IS 'How many days a partition covers at this retention.';

CREATE FUNCTION pgtq.partitions() RETURNS TABLE(name regclass, parent text, low timestamp with time zone, high timestamp with time zone)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET "DateStyle" TO 'ISO'
    AS ...;

COMMENT ON FUNCTION pgtq.partitions() IS 'The partitions of history and attempts with their bounds; not the default ones.';

CREATE FUNCTION pgtq.pause(queue text DEFAULT NULL::text, handler text DEFAULT NULL::text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.pause(queue text, handler text) IS 'Stops claims of a queue''s or a handler''s tasks; running tasks finish. False: it was already paused.';

CREATE FUNCTION pgtq.pop(INOUT queue text DEFAULT NULL::text, n integer DEFAULT 1, handlers text[] DEFAULT NULL::text[], lease interval DEFAULT '00:05:00'::interval, queues text[] DEFAULT NULL::text[], worker text DEFAULT NULL::text, OUT id bigint, OUT token uuid, OUT handler text, OUT args json, OUT attempt integer, OUT retries integer, OUT priority integer, OUT pushed_at timestamp with time zone, OUT due_at timestamp with time zone, OUT key text, OUT parent bigint, OUT expires_at timestamp with time zone) RETURNS SETOF record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS ...;

COMMENT ON FUNCTION pgtq.pop(INOUT queue text, n integer, handlers text[], lease interval, queues text[], worker text, OUT id bigint, OUT token uuid, OUT handler text, OUT args json, OUT attempt integer, OUT retries integer, OUT priority integer, OUT pushed_at timestamp with time zone, OUT due_at timestamp with time zone, OUT key text, OUT parent bigint, OUT expires_at timestamp with time zone) IS 'Takes up to n due tasks of one or several queues, at most 32 MiB of arguments, by priority and then the oldest first. The worker calls complete, fail or release (id, token) for each before the lease expires, or extends it.';

CREATE FUNCTION pgtq.progress(id bigint, token uuid, fraction double precision, message text DEFAULT NULL::text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.progress(id bigint, token uuid, fraction double precision, message text) IS 'Reports the progress of a popped task, from 0 to 1, with a short message: the view progress shows it. False: the task is no longer held with this token.';

CREATE FUNCTION pgtq.promote(batch integer DEFAULT 1000, after_due timestamp with time zone DEFAULT '-infinity'::timestamp with time zone, after_id bigint DEFAULT 0) RETURNS TABLE(count bigint, next_due interval, last_due timestamp with time zone, last_id bigint, more boolean)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    AS ...;

COMMENT ON FUNCTION pgtq.promote(batch integer, after_due timestamp with time zone, after_id bigint) IS 'Makes due tasks runnable, starting at a position in their order; at most 8 MiB of arguments, but at least one task. Returns how many, how long until the next one is due, the position of the last, and whether to call again at once from there.';

CREATE FUNCTION pgtq.prune(retention interval, batch integer DEFAULT 10000, failed interval DEFAULT NULL::interval) RETURNS TABLE(created bigint, dropped bigint, deleted bigint, more boolean, skipped text[])
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.prune(retention interval, batch integer, failed interval) IS 'Drops history older than the retention (at least one hour), keeps failed tasks until the age failed, deletes expired keys, and creates the next partitions. Each call does one step: call it again, in a separate transaction, while more is true. skipped names the partitions that failed; there is a WARNING, too.';

CREATE FUNCTION pgtq.prune_keys(batch integer) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.prune_keys(batch integer) IS 'Deletes keys that have expired and whose tasks neither wait nor run. For prune.';

CREATE FUNCTION pgtq.prune_partition(oldest timestamp with time zone, oldest_failed timestamp with time zone, OUT changed boolean, OUT dropped boolean, OUT skipped text[]) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.prune_partition(oldest timestamp with time zone, oldest_failed timestamp with time zone, OUT changed boolean, OUT dropped boolean, OUT skipped text[]) IS 'Empties or drops the oldest partition that is not in use, and names those that fail. For prune.';

CREATE FUNCTION pgtq.prune_state(retention interval, batch integer DEFAULT 10000) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.prune_state(retention interval, batch integer) IS 'Deletes saved values of tasks that are complete or deleted, or whose history has been deleted; a batch of tasks in each call. Runners call it after prune.';

CREATE FUNCTION pgtq.purge(queue text, batch integer DEFAULT 10000) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.purge(queue text, batch integer) IS 'Deletes at most a batch of waiting tasks of a queue and their keys. Returns how many; call it again until it returns 0. Does not delete running or locked tasks.';

CREATE FUNCTION pgtq.push(handler text, args json, queue text DEFAULT 'default'::text, priority integer DEFAULT 0, delay interval DEFAULT NULL::interval, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, retries integer DEFAULT NULL::integer, key text DEFAULT NULL::text) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.push(handler text, args json, queue text, priority integer, delay interval, run_at timestamp with time zone, retries integer, key text) IS 'Pushes a task with arguments of type json.';

CREATE FUNCTION pgtq.push(handler text, args jsonb, queue text DEFAULT 'default'::text, priority integer DEFAULT 0, delay interval DEFAULT NULL::interval, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, retries integer DEFAULT NULL::integer, key text DEFAULT NULL::text) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.push(handler text, args jsonb, queue text, priority integer, delay interval, run_at timestamp with time zone, retries integer, key text) IS 'Pushes a task with arguments of type jsonb.';

CREATE FUNCTION pgtq.push(handler text, args text DEFAULT '{}'::text, queue text DEFAULT 'default'::text, priority integer DEFAULT 0, delay interval DEFAULT NULL::interval, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, retries integer DEFAULT NULL::integer, key text DEFAULT NULL::text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.push(handler text, args text, queue text, priority integer, delay interval, run_at timestamp with time zone, retries integer, key text) IS 'Pushes a task and returns its id. args is JSON text. A lower priority runs earlier. retries -1 means no limit. If a task has the key, push returns its id.';

CREATE FUNCTION pgtq.push_arrays(handlers text[], args text[], queues text[], priorities integer[], delays interval[], run_ats timestamp with time zone[], retries integer[], keys text[]) RETURNS TABLE(id bigint, existed boolean)
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.push_arrays(handlers text[], args text[], queues text[], priorities integer[], delays interval[], run_ats timestamp with time zone[], retries integer[], keys text[]) IS 'Pushes many tasks, one array for each field. For programs; see also push_many.';

CREATE FUNCTION pgtq.push_many(tasks anycompatible) RETURNS SETOF bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.push_many(tasks anycompatible) IS 'Pushes the tasks of a JSON array (text, json or jsonb) of objects with the fields of push, all or none. Returns their ids in this order.';

CREATE FUNCTION pgtq.push_many(handler text, args anycompatiblearray, queue text DEFAULT 'default'::text, priority integer DEFAULT 0, delay interval DEFAULT NULL::interval, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, retries integer DEFAULT NULL::integer) RETURNS SETOF bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.push_many(handler text, args anycompatiblearray, queue text, priority integer, delay interval, run_at timestamp with time zone, retries integer) IS 'Pushes one task of a handler for each element of args (text[], json[] or jsonb[]), all or none. Returns their ids in this order.';

CREATE FUNCTION pgtq.push_rows(handlers text[], args text[], queues text[], priorities integer[], delays interval[], run_ats timestamp with time zone[], retries integer[], keys text[], parents bigint[], scopes text[] DEFAULT NULL::text[]) RETURNS TABLE(id bigint, existed boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.push_rows(handlers text[], args text[], queues text[], priorities integer[], delays interval[], run_ats timestamp with time zone[], retries integer[], keys text[], parents bigint[], scopes text[]) IS 'Pushes many tasks, one array for each field; parents and scopes are those of child tasks. For runners.';

CREATE FUNCTION pgtq.push_task(handler text, args json, queue text DEFAULT 'default'::text, priority integer DEFAULT 0, delay interval DEFAULT NULL::interval, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, retries integer DEFAULT NULL::integer, key text DEFAULT NULL::text, on_conflict text DEFAULT 'ignore'::text, key_ttl interval DEFAULT NULL::interval) RETURNS TABLE(id bigint, outcome text)
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.push_task(handler text, args json, queue text, priority integer, delay interval, run_at timestamp with time zone, retries integer, key text, on_conflict text, key_ttl interval) IS 'As push_task(text, text, ...), with arguments of type json.';

CREATE FUNCTION pgtq.push_task(handler text, args jsonb, queue text DEFAULT 'default'::text, priority integer DEFAULT 0, delay interval DEFAULT NULL::interval, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, retries integer DEFAULT NULL::integer, key text DEFAULT NULL::text, on_conflict text DEFAULT 'ignore'::text, key_ttl interval DEFAULT NULL::interval) RETURNS TABLE(id bigint, outcome text)
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.push_task(handler text, args jsonb, queue text, priority integer, delay interval, run_at timestamp with time zone, retries integer, key text, on_conflict text, key_ttl interval) IS 'As push_task(text, text, ...), with arguments of type jsonb.';

CREATE FUNCTION pgtq.push_task(handler text, args text DEFAULT '{}'::text, queue text DEFAULT 'default'::text, priority integer DEFAULT 0, delay interval DEFAULT NULL::interval, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, retries integer DEFAULT NULL::integer, key text DEFAULT NULL::text, on_conflict text DEFAULT 'ignore'::text, key_ttl interval DEFAULT NULL::interval) RETURNS TABLE(id bigint, outcome text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.push_task(handler text, args text, queue text, priority integer, delay interval, run_at timestamp with time zone, retries integer, key text, on_conflict text, key_ttl interval) IS 'Pushes a task and returns the outcome: new; existing (a task has the key; nothing was changed); replaced (on_conflict => replace: the waiting task was changed); running (it has started and was not replaced). on_conflict => error raises error 23505. key_ttl: how long the key stays in use after the task is due, instead of the retention.';

CREATE FUNCTION pgtq.release(id bigint, token uuid, delay interval DEFAULT NULL::interval) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.release(id bigint, token uuid, delay interval) IS 'Releases a popped task without using an attempt, to run at once or after the delay. False: the task is no longer held with this token, and nothing changed.';

CREATE FUNCTION pgtq.release_claims(claim_ids bigint[]) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.release_claims(claim_ids bigint[]) IS 'Releases the unfinished tasks of these claims, without using an attempt. A claim that cannot be read stays, with a warning.';

CREATE FUNCTION pgtq.reprioritise(id bigint, priority integer) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.reprioritise(id bigint, priority integer) IS 'Sets the priority of a waiting task, after the tasks that already have it. Returns its state: scheduled or runnable if it was changed; running, complete, failed or cancelled if it was too late; null if it does not exist.';

CREATE FUNCTION pgtq.request_wake(queue text DEFAULT NULL::text) RETURNS TABLE(flag integer, fresh boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.request_wake(queue text) IS 'Requests that the next push to this queue (null: any queue) sends the notification ''work <flag> <queues>'' (without queues if they are many) on the channel pgtq_wake. fresh: the request is new; look for tasks once more before waiting.';

CREATE FUNCTION pgtq.reschedule(id bigint, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, delay interval DEFAULT NULL::interval) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.reschedule(id bigint, run_at timestamp with time zone, delay interval) IS 'Sets when a waiting task is due. Returns its state: scheduled or runnable if it was changed; running, complete, failed or cancelled if it was too late; null if it does not exist.';

CREATE FUNCTION pgtq.rescue(orphans boolean DEFAULT true, most integer DEFAULT 100, max_crashes integer DEFAULT 3, except_claims bigint[] DEFAULT '{}'::bigint[]) RETURNS TABLE(runner_ids bigint[], runner_names text[], tasks bigint, failed bigint, cancelled bigint, left_out bigint[])
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.rescue(orphans boolean, most integer, max_crashes integer, except_claims bigint[]) IS 'Returns the tasks of lost runners to the queue, at most this many claims per call, except the given ones; call it again while it finds some. Returns the claims that cannot be read, which stay. For leases of workers see tend.';

CREATE FUNCTION pgtq.result(id bigint) RETURNS json
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.result(id bigint) IS 'The result of a complete task; null if it is not complete.';

CREATE FUNCTION pgtq.resume(queue text DEFAULT NULL::text, handler text DEFAULT NULL::text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.resume(queue text, handler text) IS 'Ends a pause. False: it was not paused.';

CREATE FUNCTION pgtq.retention() RETURNS interval
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.retention() IS 'How long history is kept, from the last call of prune: the default lifetime of an idempotency key.';

CREATE FUNCTION pgtq.retries_forever(retries integer, handler text) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.retries_forever(retries integer, handler text) IS 'Whether the task, or otherwise its handler, has unlimited retries: then no crash fails it.';

CREATE FUNCTION pgtq.retry(id bigint) RETURNS text
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.retry(id bigint) IS 'Makes a failed, cancelled or scheduled task runnable now. Returns its state; null if it does not exist.';

CREATE FUNCTION pgtq.retry_delay(attempts integer) RETURNS interval
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.retry_delay(attempts integer) IS 'How long a worker''s failed task waits before its next attempt. For fail.';

CREATE FUNCTION pgtq.retry_tasks(ids bigint[]) RETURNS TABLE(id bigint, was text, changed boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET jit TO 'off'
    AS ...;

COMMENT ON FUNCTION pgtq.retry_tasks(ids bigint[]) IS 'Makes failed, cancelled and scheduled tasks runnable now. Each gets its idempotency key back, unless another task has the key. Returns the state in which each was found (null: it does not exist) and whether it was changed.';

CREATE FUNCTION pgtq.revoke_role(kind text, role text) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.revoke_role(kind text, role text) IS 'Revokes what grant_role granted, except privileges that another kind of the same role needs. False: the role did not have this kind.';

CREATE FUNCTION pgtq.role_sql(kind text, role text, take boolean DEFAULT false) RETURNS SETOF text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.role_sql(kind text, role text, take boolean) IS 'The statements that grant this kind to a role, or revoke it.';

CREATE FUNCTION pgtq.save_in_task(ticket bytea, runner bigint, claim bigint, task bigint, name text, value text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.save_in_task(ticket bytea, runner bigint, claim bigint, task bigint, name text, value text) IS 'Saves a value of a task in the transaction of its handler. For runners. False: the claim is gone, and nothing changed.';

CREATE FUNCTION pgtq.scan_runnable(ids bigint[]) RETURNS SETOF tid
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'on'
    SET jit TO 'off'
    AS ...;

COMMENT ON FUNCTION pgtq.scan_runnable(ids bigint[]) IS 'For find_runnable: reads the whole table.';

CREATE FUNCTION pgtq.server_is_settled() RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.server_is_settled() IS 'Whether the server was started long enough ago for every runner to have reconnected.';

CREATE FUNCTION pgtq.state_of(task bigint, queue text, handler text, priority integer, since timestamp with time zone) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.state_of(task bigint, queue text, handler text, priority integer, since timestamp with time zone) IS 'The state of a task whose lane is known; null if it does not exist. For the other functions.';

CREATE FUNCTION pgtq.stored_bytes(task bigint, args json, traits jsonb, key text) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.stored_bytes(task bigint, args json, traits jsonb, key text) IS 'The stored size of the arguments in bytes; null: a value of the task cannot be read. For promote and tend.';

CREATE FUNCTION pgtq.take_back(claim_ids bigint[], crashed bigint[], max_crashes integer) RETURNS TABLE(tasks bigint, failed bigint, cancelled bigint, left_out bigint[])
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.take_back(claim_ids bigint[], crashed bigint[], max_crashes integer) IS 'Returns the unfinished tasks of these lost claims to the queue. Returns the claims that cannot be read: these stay. For rescue.';

CREATE FUNCTION pgtq.take_key(queue text, key text, scope text, task bigint, handler text, priority integer, expires_at timestamp with time zone, ttl interval DEFAULT NULL::interval) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.take_key(queue text, key text, scope text, task bigint, handler text, priority integer, expires_at timestamp with time zone, ttl interval) IS 'Assigns a key to a new task if it has expired and its task neither waits nor runs. Returns the task that has it; null if the key does not exist.';

CREATE FUNCTION pgtq.take_log(task bigint, claim bigint, log_seq bigint, OUT logs json, OUT dropped bigint) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.take_log(task bigint, claim bigint, log_seq bigint, OUT logs json, OUT dropped bigint) IS 'Deletes the log lines of an attempt and returns them as they are stored with it. For complete, fail and release.';

CREATE FUNCTION pgtq.tend(most integer DEFAULT 1000) RETURNS TABLE(promoted bigint, expired bigint, next_due interval, more boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.tend(most integer) IS 'Maintains the queues of workers: makes due tasks runnable and returns tasks with expired leases to the queue, at most this many and 8 MiB of arguments of each. Call it again at once while more is true, otherwise once a second, in a separate transaction, from one worker; runners call it. Returns at once while another session runs it.';

CREATE FUNCTION pgtq.try_lock(tables text, mode text) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '20ms'
    AS ...;

COMMENT ON FUNCTION pgtq.try_lock(tables text, mode text) IS 'Locks tables if they are free, or become free within 20 ms. For prune.';

CREATE FUNCTION pgtq.unreadable_tasks() RETURNS bigint[]
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.unreadable_tasks() IS 'The tasks that this session has found unreadable in the last ten minutes. For promote, pop and tend.';

CREATE FUNCTION pgtq.wait_for_tasks(ids bigint[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.wait_for_tasks(ids bigint[]) IS 'Waits at most lock_timeout for the transactions that have locked these tasks, and names the task in the error. For cancel_tasks and delete_tasks.';

CREATE FUNCTION pgtq.wake(queues text[] DEFAULT NULL::text[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.wake(queues text[]) IS 'Notifies runners and workers that wait for tasks of these queues (null: any queue). Does nothing after SET LOCAL pgtq.notify = off.';

CREATE FUNCTION pgtq.withdraw_crashes(runner bigint, successor bigint DEFAULT NULL::bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.withdraw_crashes(runner bigint, successor bigint) IS 'Removes the reports and counted crashes of a runner that is alive. For the heartbeat.';

CREATE FUNCTION pgtq.witnessed_since(except_runner bigint DEFAULT NULL::bigint) RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS ...;

COMMENT ON FUNCTION pgtq.witnessed_since(except_runner bigint) IS 'Since when another runner has reached this database without a gap; null: it is not known whether the database was available.';

CREATE FUNCTION pgtq.worker_lanes(queues text[], handlers text[]) RETURNS TABLE(queue text, handler text, priority integer, head bigint, start bigint, checked_at timestamp with time zone)
    LANGUAGE plpgsql STABLE ROWS 10
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS ...;

COMMENT ON FUNCTION pgtq.worker_lanes(queues text[], handlers text[]) IS 'The lanes of these queues (and handlers), and the position of the first task of each. For pop and tend.';

CREATE TABLE pgtq.attempts_default (
    task_id bigint NOT NULL,
    claim_id bigint NOT NULL,
    number integer NOT NULL,
    kind text NOT NULL,
    error_code text,
    error_message text,
    error_details json,
    backtrace text[],
    logs json,
    logs_dropped bigint DEFAULT 0 NOT NULL,
    started_at timestamp with time zone,
    ended_at timestamp with time zone DEFAULT now() NOT NULL,
    fuel bigint,
    peak_memory bigint,
    wall_us bigint,
    digest bytea,
    runner_id bigint
);
ALTER TABLE ONLY pgtq.attempts_default ALTER COLUMN error_message SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.attempts_default ALTER COLUMN error_details SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.attempts_default ALTER COLUMN backtrace SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.attempts_default ALTER COLUMN logs SET COMPRESSION lz4;

COMMENT ON TABLE pgtq.attempts_default IS 'Rows of a day without a partition.';

CREATE TABLE pgtq.cancellations (
    claim_id bigint NOT NULL,
    task_id bigint NOT NULL,
    asked_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE pgtq.cancellations IS 'Running tasks whose cancellation was requested.';

CREATE VIEW pgtq.cancelled AS
 SELECT history.id,
    history.state,
    history.queue,
    history.handler,
    history.priority,
    history.args,
    history.result,
    history.error_kind,
    history.error_code,
    history.error_message,
    history.attempts,
    history.crashes,
    history.retries,
    history.pushed_at,
    history.due_at,
    history.started_at,
    history.finished_at,
    history.runner_id,
    history.claim_id,
    history.key,
    history.parent
   FROM pgtq.history
  WHERE (history.state = 'cancelled'::text);

COMMENT ON VIEW pgtq.cancelled IS 'Tasks cancelled by a user or by their handler; error_message contains the reason.';

CREATE SEQUENCE pgtq.claim_ids
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE pgtq.claim_ids IS 'Ids of claims. Never reset: a claim id is the fence of its outcomes.';

CREATE VIEW pgtq.complete AS
 SELECT history.id,
    history.state,
    history.queue,
    history.handler,
    history.priority,
    history.args,
    history.result,
    history.error_kind,
    history.error_code,
    history.error_message,
    history.attempts,
    history.crashes,
    history.retries,
    history.pushed_at,
    history.due_at,
    history.started_at,
    history.finished_at,
    history.runner_id,
    history.claim_id,
    history.key,
    history.parent
   FROM pgtq.history
  WHERE (history.state = 'complete'::text);

COMMENT ON VIEW pgtq.complete IS 'Tasks that succeeded, with their result.';

CREATE TABLE pgtq.crash_reports (
    task_id bigint NOT NULL,
    claim_id bigint NOT NULL,
    runner_id bigint NOT NULL,
    solo boolean NOT NULL,
    alone boolean NOT NULL,
    counted integer,
    started_at timestamp with time zone NOT NULL,
    reported_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE pgtq.crash_reports IS 'Tasks whose runner was lost while they ran. Kept for a day, or until the runner returns.';

COMMENT ON COLUMN pgtq.crash_reports.solo IS 'It was the only suspect that ran there.';

COMMENT ON COLUMN pgtq.crash_reports.alone IS 'It was the only task that ran there.';

COMMENT ON COLUMN pgtq.crash_reports.counted IS 'How many crashes were added; null: not proven yet.';

CREATE VIEW pgtq.failed AS
 SELECT history.id,
    history.state,
    history.queue,
    history.handler,
    history.priority,
    history.args,
    history.result,
    history.error_kind,
    history.error_code,
    history.error_message,
    history.attempts,
    history.crashes,
    history.retries,
    history.pushed_at,
    history.due_at,
    history.started_at,
    history.finished_at,
    history.runner_id,
    history.claim_id,
    history.key,
    history.parent
   FROM pgtq.history
  WHERE (history.state = 'failed'::text);

COMMENT ON VIEW pgtq.failed IS 'Tasks that failed and are not retried, with their last error.';

CREATE TABLE pgtq.function_files (
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE pgtq.function_files IS 'Which files of functions and views were applied when, and the digest of their text.';

CREATE TABLE pgtq.handlers (
    runner_id bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    info json NOT NULL,
    digest bytea NOT NULL,
    file text NOT NULL,
    plugin text NOT NULL,
    loaded_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT handler_name CHECK ((name ~ '^[A-Za-z0-9_.:-]{1,128}$'::text))
);

COMMENT ON TABLE pgtq.handlers IS 'The handlers of each live runner.';

CREATE TABLE pgtq.history_default (
    id bigint NOT NULL,
    state text NOT NULL,
    priority integer NOT NULL,
    attempts integer NOT NULL,
    crashes integer NOT NULL,
    retries integer,
    queue text NOT NULL COLLATE pg_catalog."C",
    handler text NOT NULL COLLATE pg_catalog."C",
    args json NOT NULL,
    result json,
    error_kind text,
    error_code text,
    error_message text,
    error_details json,
    backtrace text[],
    logs json,
    logs_dropped bigint DEFAULT 0 NOT NULL,
    pushed_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone DEFAULT now() NOT NULL,
    fuel bigint,
    peak_memory bigint,
    wall_us bigint,
    digest bytea,
    runner_id bigint,
    claim_id bigint,
    key text COLLATE pg_catalog."C",
    parent bigint,
    traits jsonb,
    CONSTRAINT final_state CHECK ((state = ANY (ARRAY['complete'::text, 'failed'::text, 'cancelled'::text])))
);
ALTER TABLE ONLY pgtq.history_default ALTER COLUMN args SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.history_default ALTER COLUMN result SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.history_default ALTER COLUMN error_message SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.history_default ALTER COLUMN error_details SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.history_default ALTER COLUMN backtrace SET COMPRESSION lz4;
ALTER TABLE ONLY pgtq.history_default ALTER COLUMN logs SET COMPRESSION lz4;

COMMENT ON TABLE pgtq.history_default IS 'Rows of a day without a partition.';

CREATE TABLE pgtq.keys (
    queue text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    scope text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    task_id bigint NOT NULL,
    until smallint DEFAULT 0 NOT NULL,
    expires_at timestamp with time zone,
    ttl interval,
    handler text NOT NULL COLLATE pg_catalog."C",
    priority integer NOT NULL,
    group_key text COLLATE pg_catalog."C",
    first_at timestamp with time zone DEFAULT now() NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE pgtq.keys IS 'Idempotency keys: one task for each queue, key and scope, until expires_at and while the task waits or runs.';

COMMENT ON COLUMN pgtq.keys.scope IS 'Namespace of the key: empty for applications, otherwise the plugin whose handler pushed the task.';

COMMENT ON COLUMN pgtq.keys.until IS 'When the key ends: 0 at expires_at. Reserved: 1 at the start of its task, 2 at its end, 3 after a period.';

COMMENT ON COLUMN pgtq.keys.expires_at IS 'When the key is free again, unless its task still waits or runs. prune then deletes it.';

COMMENT ON COLUMN pgtq.keys.ttl IS 'How long the key stays in use after its task is due; null: the retention.';

COMMENT ON COLUMN pgtq.keys.handler IS 'With queue and priority: the lane of the waiting task.';

COMMENT ON COLUMN pgtq.keys.group_key IS 'Reserved for groups.';

COMMENT ON COLUMN pgtq.keys.first_at IS 'When the first push used this key.';

CREATE UNLOGGED TABLE pgtq.lane_starts (
    queue text NOT NULL COLLATE pg_catalog."C",
    handler text NOT NULL COLLATE pg_catalog."C",
    priority integer NOT NULL,
    "position" bigint NOT NULL,
    checked_at timestamp with time zone NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.1', autovacuum_vacuum_threshold='20');

COMMENT ON TABLE pgtq.lane_starts IS 'Positions below which pop does not read. Only tend writes here; safe to truncate.';

CREATE UNLOGGED TABLE pgtq.log_lines (
    task_id bigint NOT NULL,
    claim_id bigint NOT NULL,
    seq bigint NOT NULL,
    attempt integer NOT NULL,
    runner_id bigint,
    at timestamp with time zone NOT NULL,
    at_ms bigint NOT NULL,
    level text NOT NULL,
    message text NOT NULL,
    fields json,
    CONSTRAINT log_level CHECK ((level = ANY (ARRAY['debug'::text, 'info'::text, 'warn'::text, 'error'::text])))
)
WITH (autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE pgtq.log_lines IS 'Log lines of running attempts, and of attempts whose runner crashed. Read the view live_logs instead.';

COMMENT ON COLUMN pgtq.log_lines.at_ms IS 'Milliseconds since the attempt started, as in stored logs.';

CREATE VIEW pgtq.live_logs AS
 SELECT l.task_id,
    l.attempt,
    l.claim_id,
    l.runner_id,
    l.seq,
    l.at,
    l.level,
    l.message,
    l.fields,
    ((EXISTS ( SELECT
           FROM pgtq.claims c
          WHERE (c.id = l.claim_id))) OR (EXISTS ( SELECT
           FROM pgtq.popped p
          WHERE ((p.task_id = l.task_id) AND (p.claim_id = l.claim_id))))) AS running
   FROM pgtq.log_lines l;

COMMENT ON VIEW pgtq.live_logs IS 'Log lines of attempts that have run for more than one or two seconds, in the order of (claim_id, seq); a gap in seq is a dropped line. running is false for lines of an attempt whose runner crashed.';

CREATE TABLE pgtq.migrations (
    version integer NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL,
    serves integer NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT serves_range CHECK ((serves <= version))
);

COMMENT ON TABLE pgtq.migrations IS 'Which versions of the schema were applied when, the digest of their text, and the oldest version whose programs each serves.';

CREATE TABLE pgtq.pauses (
    kind text NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    paused_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT pause_kind CHECK ((kind = ANY (ARRAY['queue'::text, 'handler'::text]))),
    CONSTRAINT pause_name CHECK ((name ~ '^[A-Za-z0-9_.:-]{1,128}$'::text))
);

COMMENT ON TABLE pgtq.pauses IS 'Paused queues and handlers, whose tasks are not claimed.';

CREATE SEQUENCE pgtq.runner_ids
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE pgtq.runner_ids IS 'Ids of runners, one for each registration of a process.';

CREATE TABLE pgtq.runners (
    id bigint DEFAULT nextval('pgtq.runner_ids'::regclass) NOT NULL,
    name text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    slots integer NOT NULL,
    queues text[] NOT NULL,
    busy integer DEFAULT 0 NOT NULL,
    held integer DEFAULT 0 NOT NULL,
    draining boolean DEFAULT false NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    plugins json DEFAULT '{}'::json NOT NULL,
    progress json DEFAULT '{}'::json NOT NULL,
    ticket_hash bytea,
    steady_since timestamp with time zone DEFAULT now() NOT NULL,
    backend integer,
    started bigint[],
    judged boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.1', autovacuum_vacuum_threshold='20');

COMMENT ON TABLE pgtq.runners IS 'Processes that execute tasks. After expires_at, rescue takes the runner''s claims.';

COMMENT ON COLUMN pgtq.runners.held IS 'Claimed tasks that it had not started at its last heartbeat.';

COMMENT ON COLUMN pgtq.runners.ticket_hash IS 'sha256 of the secret that this runner passes to the functions that end in _in_task.';

COMMENT ON COLUMN pgtq.runners.steady_since IS 'Start of the period in which heartbeats came without a gap of more than 8 seconds.';

COMMENT ON COLUMN pgtq.runners.backend IS 'Server process of the heartbeat''s connection; null behind a pooler.';

COMMENT ON COLUMN pgtq.runners.started IS 'Tasks that had started at the last heartbeat; null: possibly all of its tasks. If judged: all tasks that may have started.';

COMMENT ON COLUMN pgtq.runners.judged IS 'The lease expired, and rescue has stored in started which tasks may have been running.';

CREATE VIEW pgtq.progress AS
 SELECT (p.key)::bigint AS task_id,
    ((p.value ->> 'claim'::text))::bigint AS claim_id,
    r.id AS runner_id,
    ((p.value ->> 'fraction'::text))::double precision AS fraction,
    (p.value ->> 'message'::text) AS message,
    r.seen_at
   FROM (pgtq.runners r
     CROSS JOIN LATERAL json_each(r.progress) p(key, value))
  WHERE (EXISTS ( SELECT
           FROM pgtq.claims c
          WHERE ((c.id = ((p.value ->> 'claim'::text))::bigint) AND (c.runner_id = r.id))))
UNION ALL
 SELECT p.task_id,
    p.claim_id,
    NULL::bigint AS runner_id,
    p.fraction,
    p.message,
    p.reported_at AS seen_at
   FROM pgtq.popped p
  WHERE (p.reported_at IS NOT NULL);

COMMENT ON VIEW pgtq.progress IS 'Progress that running tasks report: a fraction from 0 to 1 and a message, as of seen_at. A finished task can stay for some seconds; join running to exclude it.';

CREATE VIEW pgtq.queue_stats AS
 WITH counted AS (
         SELECT scheduled_tasks.queue,
            count(*) AS scheduled,
            (0)::bigint AS runnable,
            (0)::bigint AS running,
            (0)::bigint AS complete_hour,
            (0)::bigint AS failed_hour,
            NULL::timestamp with time zone AS oldest
           FROM pgtq.scheduled_tasks
          GROUP BY scheduled_tasks.queue
        UNION ALL
         SELECT runnable_tasks.queue,
            0,
            count(*) AS count,
            0,
            0,
            0,
            min(runnable_tasks.due_at) AS min
           FROM pgtq.runnable_tasks
          GROUP BY runnable_tasks.queue
        UNION ALL
         SELECT in_flight.queue,
            0,
            0,
            count(*) AS count,
            0,
            0,
            NULL::timestamp with time zone
           FROM pgtq.in_flight
          GROUP BY in_flight.queue
        UNION ALL
         SELECT history.queue,
            0,
            0,
            0,
            count(*) FILTER (WHERE (history.state = 'complete'::text)) AS count,
            count(*) FILTER (WHERE (history.state = 'failed'::text)) AS count,
            NULL::timestamp with time zone
           FROM pgtq.history
          WHERE (history.finished_at > (now() - '01:00:00'::interval))
          GROUP BY history.queue
        UNION ALL
         SELECT pauses.name,
            0,
            0,
            0,
            0,
            0,
            NULL::timestamp with time zone
           FROM pgtq.pauses
          WHERE (pauses.kind = 'queue'::text)
        )
 SELECT c.queue,
    p.paused_at,
    (sum(c.scheduled))::bigint AS scheduled,
    (sum(c.runnable))::bigint AS runnable,
    (sum(c.running))::bigint AS running,
    (sum(c.complete_hour))::bigint AS complete_hour,
    (sum(c.failed_hour))::bigint AS failed_hour,
    (EXTRACT(epoch FROM (now() - min(c.oldest))))::double precision AS oldest_runnable_seconds
   FROM (counted c
     LEFT JOIN pgtq.pauses p ON (((p.kind = 'queue'::text) AND (p.name = c.queue))))
  GROUP BY c.queue, p.paused_at;

COMMENT ON VIEW pgtq.queue_stats IS 'Counts for each queue that has tasks, finished one within the last hour, or is paused. Counts everything: do not call it in a loop.';

CREATE TABLE pgtq.role_grants (
    kind text NOT NULL,
    role name NOT NULL,
    granted_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE pgtq.role_grants IS 'The kinds that grant_role granted to each role.';

CREATE TABLE pgtq.role_privileges (
    kind text NOT NULL,
    class text NOT NULL,
    object text NOT NULL,
    privilege text NOT NULL,
    CONSTRAINT privilege_class CHECK ((class = ANY (ARRAY['table'::text, 'sequence'::text, 'function'::text]))),
    CONSTRAINT privilege_form CHECK ((privilege ~ '^(SELECT|INSERT|UPDATE|DELETE|USAGE|EXECUTE)( \([a-z_, ]+\))?$'::text)),
    CONSTRAINT privilege_kind CHECK ((kind = ANY (ARRAY['pusher'::text, 'worker'::text, 'viewer'::text, 'runner'::text, 'deployer'::text, 'admin'::text])))
);

COMMENT ON TABLE pgtq.role_privileges IS 'The privileges of each kind of role. A function name stands for all functions of this name; a table can be a view; columns follow the privilege.';

CREATE TABLE pgtq.settings (
    name text NOT NULL COLLATE pg_catalog."C",
    value text NOT NULL
);

COMMENT ON TABLE pgtq.settings IS 'Settings that functions of the schema read. retention: how long history is kept, from the last call of prune; also the default lifetime of keys.';

CREATE SEQUENCE pgtq.task_ids
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE pgtq.task_ids IS 'Ids of tasks, and their positions in a lane.';

CREATE TABLE pgtq.task_state (
    task_id bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    value json NOT NULL,
    claim_id bigint NOT NULL,
    saved_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE pgtq.task_state IS 'Values that handlers saved for later attempts of their task. Deleted when the task completes, or with its history.';

CREATE TABLE pgtq.upkeep (
    id boolean DEFAULT true NOT NULL,
    bound bigint DEFAULT 0 NOT NULL,
    bound_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    recheck bigint DEFAULT 0 NOT NULL,
    expired_to timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    expired_all_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    server_started_at timestamp with time zone,
    gap_from timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    gap_to timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    gap_is_restart boolean DEFAULT false NOT NULL,
    promoted_due timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    promoted_id bigint DEFAULT 0 NOT NULL,
    promotes_on boolean DEFAULT false NOT NULL,
    promote_all_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    CONSTRAINT one_row CHECK (id)
);

COMMENT ON TABLE pgtq.upkeep IS 'One row: the state of the last tend. Its lock admits one tend at a time.';

COMMENT ON COLUMN pgtq.upkeep.bound IS 'The newest position a second before the last tend. Lane starts stay below it, because transactions with lower positions can still be open.';

COMMENT ON COLUMN pgtq.upkeep.recheck IS 'How far tend has searched again below the lane starts, for tasks of longer transactions.';

COMMENT ON COLUMN pgtq.upkeep.expired_to IS 'Leases that expired before this were taken back, unless they were locked. tend checks all leases once a minute.';

COMMENT ON COLUMN pgtq.upkeep.gap_from IS 'The last tend before the last gap: more than 5 seconds without a tend, or a restart of the server.';

COMMENT ON COLUMN pgtq.upkeep.gap_to IS 'The first tend after that gap. Leases that expired since gap_from are kept for 15 seconds after it.';

COMMENT ON COLUMN pgtq.upkeep.gap_is_restart IS 'The server was restarted or replaced in the gap: leases that expired in it count no attempt.';

COMMENT ON COLUMN pgtq.upkeep.promoted_due IS 'With promoted_id: the position of the last promoted task. Under an old snapshot the index keeps an entry for each one before it.';

COMMENT ON COLUMN pgtq.upkeep.promotes_on IS 'The last tend left due tasks after that position.';

COMMENT ON COLUMN pgtq.upkeep.promote_all_at IS 'When tend next reads all due tasks from the first.';

CREATE SEQUENCE pgtq.wake_0
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE pgtq.wake_0 IS 'Wake-up flag: set while its value is a multiple of 1024.';

CREATE SEQUENCE pgtq.wake_1
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE pgtq.wake_1 IS 'Wake-up flag: set while its value is a multiple of 1024.';

CREATE SEQUENCE pgtq.wake_10
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE pgtq.wake_10 IS 'Wake-up flag: set while its value is a multiple of 1024.';

CREATE SEQUENCE pgtq.wake_11
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE pgtq.wake_11 IS 'Wake-up flag: set while its value is a multiple of 1024.';

CREATE SEQUENCE pgtq.wake_12
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE pgtq.wake_12 IS 'Wake-up flag: set while its value is a multiple of 1024.';

CREATE SEQUENCE pgtq.wake_13
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE pgtq.wake_13 IS 'Wake-up flag: set while its value is a multiple of 1024.';

CREATE SEQUENCE pgtq.wake_14
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE pgtq.wake_14 IS 'Wake-up flag: set while its value is a multiple of 1024.';

CREATE SEQUENCE pgtq.wake_15
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE pgtq.wake_15 IS 'Wake-up flag: set while its value is a multiple of 1024.';

CREATE SEQUENCE pgtq.wake_2
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE pgtq.wake_2 IS 'Wake-up flag: set while its value is a multiple of 1024.';

CREATE SEQUENCE pgtq.wake_3
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE pgtq.wake_3 IS 'Wake-up flag: set while its value is a multiple of 1024.';

CREATE SEQUENCE pgtq.wake_4
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE pgtq.wake_4 IS 'Wake-up flag: set while its value is a multiple of 1024.';

CREATE SEQUENCE pgtq.wake_5
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE pgtq.wake_5 IS 'Wake-up flag: set while its value is a multiple of 1024.';

CREATE SEQUENCE pgtq.wake_6
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE pgtq.wake_6 IS 'Wake-up flag: set while its value is a multiple of 1024.';

CREATE SEQUENCE pgtq.wake_7
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE pgtq.wake_7 IS 'Wake-up flag: set while its value is a multiple of 1024.';

CREATE SEQUENCE pgtq.wake_8
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE pgtq.wake_8 IS 'Wake-up flag: set while its value is a multiple of 1024.';

CREATE SEQUENCE pgtq.wake_9
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE pgtq.wake_9 IS 'Wake-up flag: set while its value is a multiple of 1024.';

CREATE UNLOGGED TABLE pgtq.worker_sessions (
    name text NOT NULL,
    pid integer NOT NULL,
    role name NOT NULL,
    queues text[] NOT NULL,
    seen_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.1', autovacuum_vacuum_threshold='20');

COMMENT ON TABLE pgtq.worker_sessions IS 'Sessions of external workers that called pop in the last minutes. Read the view workers instead.';

CREATE VIEW pgtq.workers AS
 WITH session AS (
         SELECT s_1.name,
            min((s_1.role)::text) AS role,
            count(*) AS sessions,
            max(s_1.seen_at) AS seen_at,
            ARRAY( SELECT DISTINCT q.q
                   FROM pgtq.worker_sessions o,
                    LATERAL unnest(o.queues) q(q)
                  WHERE (o.name = s_1.name)
                  ORDER BY q.q) AS queues
           FROM pgtq.worker_sessions s_1
          GROUP BY s_1.name
        ), held AS (
         SELECT p.worker AS name,
            count(*) AS running,
            min(p.popped_at) AS oldest,
            min(p.expires_at) AS next_expiry,
            max(p.popped_at) AS newest
           FROM pgtq.popped p
          GROUP BY p.worker
        )
 SELECT name,
    s.role,
    COALESCE(s.sessions, (0)::bigint) AS sessions,
    COALESCE(s.queues, '{}'::text[]) AS queues,
    COALESCE(h.running, (0)::bigint) AS running,
    h.oldest AS oldest_popped_at,
    h.next_expiry AS next_expires_at,
    COALESCE(s.seen_at, h.newest) AS seen_at
   FROM (session s
     FULL JOIN held h USING (name));

COMMENT ON VIEW pgtq.workers IS 'External workers by the name that they pass to pop: those that hold tasks, and those that called pop in the last ten minutes.';

ALTER TABLE ONLY pgtq.attempts ATTACH PARTITION pgtq.attempts_default DEFAULT;

ALTER TABLE ONLY pgtq.history ATTACH PARTITION pgtq.history_default DEFAULT;

ALTER TABLE ONLY pgtq.attempts
    ADD CONSTRAINT attempts_pkey PRIMARY KEY (task_id, claim_id, ended_at);

ALTER TABLE ONLY pgtq.attempts_default
    ADD CONSTRAINT attempts_default_pkey PRIMARY KEY (task_id, claim_id, ended_at);

ALTER TABLE ONLY pgtq.cancellations
    ADD CONSTRAINT cancellations_pkey PRIMARY KEY (claim_id, task_id);

ALTER TABLE ONLY pgtq.claims
    ADD CONSTRAINT claims_pkey PRIMARY KEY (id);

ALTER TABLE ONLY pgtq.crash_reports
    ADD CONSTRAINT crash_reports_pkey PRIMARY KEY (task_id, claim_id);

ALTER TABLE ONLY pgtq.function_files
    ADD CONSTRAINT function_files_pkey PRIMARY KEY (name);

ALTER TABLE ONLY pgtq.handlers
    ADD CONSTRAINT handlers_pkey PRIMARY KEY (runner_id, name);

ALTER TABLE ONLY pgtq.history
    ADD CONSTRAINT history_pkey PRIMARY KEY (id, finished_at);

ALTER TABLE ONLY pgtq.history_default
    ADD CONSTRAINT history_default_pkey PRIMARY KEY (id, finished_at);

ALTER TABLE ONLY pgtq.keys
    ADD CONSTRAINT keys_pkey PRIMARY KEY (queue, key, scope);

ALTER TABLE ONLY pgtq.lane_starts
    ADD CONSTRAINT lane_starts_pkey PRIMARY KEY (queue, handler, priority, "position");

ALTER TABLE ONLY pgtq.log_lines
    ADD CONSTRAINT log_lines_pkey PRIMARY KEY (task_id, claim_id, seq);

ALTER TABLE ONLY pgtq.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY pgtq.pauses
    ADD CONSTRAINT pauses_pkey PRIMARY KEY (kind, name);

ALTER TABLE ONLY pgtq.popped
    ADD CONSTRAINT popped_pkey PRIMARY KEY (task_id);

ALTER TABLE ONLY pgtq.role_grants
    ADD CONSTRAINT role_grants_pkey PRIMARY KEY (kind, role);

ALTER TABLE ONLY pgtq.role_privileges
    ADD CONSTRAINT role_privileges_pkey PRIMARY KEY (kind, class, object, privilege);

ALTER TABLE ONLY pgtq.runnable_tasks
    ADD CONSTRAINT runnable_tasks_pkey PRIMARY KEY (queue, handler, priority, "position");

ALTER TABLE ONLY pgtq.runners
    ADD CONSTRAINT runners_pkey PRIMARY KEY (id);

ALTER TABLE ONLY pgtq.scheduled_tasks
    ADD CONSTRAINT scheduled_tasks_pkey PRIMARY KEY (id);

ALTER TABLE ONLY pgtq.settings
    ADD CONSTRAINT settings_pkey PRIMARY KEY (name);

ALTER TABLE ONLY pgtq.task_state
    ADD CONSTRAINT task_state_pkey PRIMARY KEY (task_id, name);

ALTER TABLE ONLY pgtq.upkeep
    ADD CONSTRAINT upkeep_pkey PRIMARY KEY (id);

ALTER TABLE ONLY pgtq.worker_sessions
    ADD CONSTRAINT worker_sessions_pkey PRIMARY KEY (name, pid);

CREATE INDEX crash_reports_open ON pgtq.crash_reports USING btree (reported_at) WHERE (counted IS NULL);

CREATE INDEX crash_reports_runner ON pgtq.crash_reports USING btree (runner_id);

CREATE INDEX history_summary ON ONLY pgtq.history USING brin (finished_at, queue text_bloom_ops (n_distinct_per_range='50', false_positive_rate='0.0001'), handler text_bloom_ops (n_distinct_per_range='50', false_positive_rate='0.0001')) WITH (pages_per_range='64', autosummarize='on');

CREATE INDEX history_default_finished_at_queue_handler_idx ON pgtq.history_default USING brin (finished_at, queue text_bloom_ops (n_distinct_per_range='50', false_positive_rate='0.0001'), handler text_bloom_ops (n_distinct_per_range='50', false_positive_rate='0.0001')) WITH (pages_per_range='64', autosummarize='on');

CREATE INDEX history_unsuccessful ON ONLY pgtq.history USING btree (id, finished_at) WHERE (state <> 'complete'::text);

CREATE INDEX history_default_id_finished_at_idx ON pgtq.history_default USING btree (id, finished_at) WHERE (state <> 'complete'::text);

CREATE INDEX history_parent ON ONLY pgtq.history USING btree (parent) WHERE (parent IS NOT NULL);

CREATE INDEX history_default_parent_idx ON pgtq.history_default USING btree (parent) WHERE (parent IS NOT NULL);

CREATE INDEX keys_expires ON pgtq.keys USING btree (expires_at) WHERE (expires_at IS NOT NULL);

CREATE INDEX popped_expires_at ON pgtq.popped USING btree (expires_at);

CREATE INDEX runnable_parent ON pgtq.runnable_tasks USING btree (parent) WHERE (parent IS NOT NULL);

CREATE INDEX runnable_returned ON pgtq.runnable_tasks USING btree (id) WHERE ("position" <> id);

CREATE INDEX scheduled_parent ON pgtq.scheduled_tasks USING btree (parent) WHERE (parent IS NOT NULL);

CREATE INDEX scheduled_run_at ON pgtq.scheduled_tasks USING btree (run_at, id);

ALTER INDEX pgtq.attempts_pkey ATTACH PARTITION pgtq.attempts_default_pkey;

ALTER INDEX pgtq.history_summary ATTACH PARTITION pgtq.history_default_finished_at_queue_handler_idx;

ALTER INDEX pgtq.history_unsuccessful ATTACH PARTITION pgtq.history_default_id_finished_at_idx;

ALTER INDEX pgtq.history_parent ATTACH PARTITION pgtq.history_default_parent_idx;

ALTER INDEX pgtq.history_pkey ATTACH PARTITION pgtq.history_default_pkey;

ALTER TABLE ONLY pgtq.handlers
    ADD CONSTRAINT handlers_runner_id_fkey FOREIGN KEY (runner_id) REFERENCES pgtq.runners(id) ON DELETE CASCADE;
