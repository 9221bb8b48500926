-- SQL that handlers run, and the values that they save for later attempts.
--
-- A handler's SQL runs on a separate connection, which logs in as a role that the
-- operator grants. That role can execute only the three functions below that end in
-- _in_task. They require the ticket, a secret of the runner's process that handlers never
-- see, and run with the privileges of the schema's owner, so that a task's outcome
-- commits together with its handler's SQL.

CREATE OR REPLACE FUNCTION {{schema}}.is_held(ticket bytea, runner bigint, claim bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known bytea;
BEGIN
    SELECT r.ticket_hash INTO known FROM {{schema}}.runners AS r WHERE r.id = is_held.runner;
    IF NOT FOUND THEN
        RETURN false;
    ELSIF known IS NULL OR known IS DISTINCT FROM sha256(is_held.ticket) THEN
        RAISE EXCEPTION 'this is not the ticket of runner %', is_held.runner USING ERRCODE = '42501';
    END IF;
    RETURN EXISTS (SELECT FROM {{schema}}.claims AS c WHERE c.id = is_held.claim AND c.runner_id = is_held.runner);
END $$;
COMMENT ON FUNCTION {{schema}}.is_held(bytea, bigint, bigint)
    IS 'Whether the runner still holds the claim; an error if the ticket is not the runner''s. For the functions that end in _in_task.';

-- No lock: the transaction can stay open for long, and rescue skips locked claims.
-- complete_in_task and checkpoint_in_task check again, with a lock, before the commit.
CREATE OR REPLACE FUNCTION {{schema}}.save_in_task(ticket bytea, runner bigint, claim bigint, task bigint, name text, value text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT {{schema}}.is_held(ticket, runner, claim) THEN
        RETURN false;
    END IF;
    INSERT INTO {{schema}}.task_state AS s (task_id, name, value, claim_id)
    VALUES (save_in_task.task, save_in_task.name, save_in_task.value::json, save_in_task.claim)
    ON CONFLICT ON CONSTRAINT task_state_pkey DO UPDATE
    SET value = EXCLUDED.value, claim_id = EXCLUDED.claim_id, saved_at = EXCLUDED.saved_at;
    RETURN true;
END $$;
COMMENT ON FUNCTION {{schema}}.save_in_task(bytea, bigint, bigint, bigint, text, text)
    IS 'Saves a value of a task in the transaction of its handler. For runners. False: the claim is gone, and nothing changed.';

CREATE OR REPLACE FUNCTION {{schema}}.checkpoint_in_task(ticket bytea, runner bigint, claim bigint, task bigint, value text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT {{schema}}.save_in_task(ticket, runner, claim, task, '', value) THEN
        RETURN false;
    END IF;
    PERFORM FROM {{schema}}.claims AS c
    WHERE c.id = checkpoint_in_task.claim AND c.runner_id = checkpoint_in_task.runner FOR KEY SHARE;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION {{schema}}.checkpoint_in_task(bytea, bigint, bigint, bigint, text)
    IS 'Saves the checkpoint of a task, as the last statement in a transaction of its handler. For runners. False: the claim is gone; roll back.';

CREATE OR REPLACE FUNCTION {{schema}}.complete_in_task(ticket bytea, runner bigint, claim bigint, task bigint,
    queue text, handler text, priority integer, args json, result text, logs text, logs_dropped bigint,
    attempts integer, crashes integer, retries integer, pushed_at timestamptz, due_at timestamptz,
    since_start float8, since_end float8, fuel bigint, peak_memory bigint, wall_us bigint, digest bytea, key text, parent bigint, traits jsonb,
    child_handlers text[], child_args text[], child_queues text[], child_priorities integer[], child_delays float8[],
    child_run_ats timestamptz[], child_retries integer[], child_keys text[], child_scopes text[])
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT {{schema}}.is_held(ticket, runner, claim) THEN
        RETURN false;
    END IF;
    -- From here to the commit, rescue and cancel wait, unless they were first.
    PERFORM FROM {{schema}}.claims AS c
    WHERE c.id = complete_in_task.claim AND c.runner_id = complete_in_task.runner FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO {{schema}}.history
        ({{carried}}, id, state, attempts, crashes, result, logs, logs_dropped,
         due_at, started_at, finished_at, fuel, peak_memory, wall_us, digest, runner_id, claim_id)
    -- The transaction began with the handler's first statement: its now() is too early.
    VALUES ({{carried complete_in_task}}, task, 'complete', attempts, crashes, result::json, logs::json, logs_dropped,
            due_at, clock_timestamp() - since_start * interval '1 second', clock_timestamp() - since_end * interval '1 second',
            fuel, peak_memory, wall_us, digest, runner, claim);
    IF cardinality(child_handlers) > 0 THEN
        PERFORM FROM {{schema}}.push_rows(child_handlers, child_args, child_queues, child_priorities,
            ARRAY(SELECT d.seconds * interval '1 second' FROM unnest(child_delays) WITH ORDINALITY AS d (seconds, n) ORDER BY d.n),
            child_run_ats, child_retries, child_keys, array_fill(task, ARRAY[cardinality(child_handlers)]), child_scopes);
    END IF;
    DELETE FROM {{schema}}.task_state AS s WHERE s.task_id = complete_in_task.task;
    RETURN true;
END $$;
COMMENT ON FUNCTION {{schema}}.complete_in_task(bytea, bigint, bigint, bigint, text, text, integer, json, text, text, bigint,
    integer, integer, integer, timestamptz, timestamptz, float8, float8, bigint, bigint, bigint, bytea, text, bigint, jsonb,
    text[], text[], text[], integer[], float8[], timestamptz[], integer[], text[], text[])
    IS 'Completes a task with a result, as the last statement in the transaction of its handler. For runners. False: the claim is gone; roll back.';

CREATE OR REPLACE FUNCTION {{schema}}.allow_sql(role text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    one regprocedure;
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA {{schema}} TO %I', role);
    FOR one IN
        SELECT p.oid FROM pg_proc AS p
        WHERE p.pronamespace = '{{schema}}'::regnamespace
          AND p.proname IN ('complete_in_task', 'checkpoint_in_task', 'save_in_task')
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', one, role);
    END LOOP;
END $$;
COMMENT ON FUNCTION {{schema}}.allow_sql(text)
    IS 'Lets handlers'' SQL run as this role: it can then complete tasks with a runner''s ticket, and has no other privileges in this schema.';
