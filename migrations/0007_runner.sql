-- What runners call: promote, release and rescue. Claim and finish are statements
-- of the runner's program. At READ COMMITTED each statement of a volatile function
-- sees what committed before it began; several of these functions rely on that.

CREATE FUNCTION {{schema}}.promote(batch integer DEFAULT 1000)
RETURNS TABLE (count bigint, next_due interval)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    moved bigint;
BEGIN
    WITH due AS MATERIALIZED (
        SELECT s.ctid FROM {{schema}}.scheduled_tasks AS s
        WHERE s.run_at <= now()
        ORDER BY s.run_at LIMIT batch
        FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM {{schema}}.scheduled_tasks AS s WHERE s.ctid = ANY (ARRAY(SELECT ctid FROM due)) RETURNING s.*
    )
    INSERT INTO {{schema}}.runnable_tasks
        (queue, handler, priority, position, id, attempts, crashes, retries, pushed_at, due_at, key, parent, args)
    SELECT g.queue, g.handler, g.priority, nextval('{{schema}}.task_ids'), g.id, g.attempts, g.crashes, g.retries,
           g.pushed_at, g.run_at, g.key, g.parent, g.args
    FROM (SELECT * FROM gone ORDER BY run_at, id) AS g;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved > 0 THEN
        PERFORM {{schema}}.wake();
    END IF;
    RETURN QUERY SELECT moved, (
        SELECT greatest(s.run_at - clock_timestamp(), interval '0')
        FROM {{schema}}.scheduled_tasks AS s ORDER BY s.run_at LIMIT 1);
END $$;
COMMENT ON FUNCTION {{schema}}.promote(integer) IS 'Makes due tasks runnable. Returns how many, and how long until the next one is due.';

CREATE FUNCTION {{schema}}.release_claims(claim_ids bigint[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    mine bigint[];
    moved bigint;
BEGIN
    PERFORM {{schema}}.need_read_committed('release claims');
    mine := ARRAY(SELECT c.id FROM {{schema}}.claims AS c WHERE c.id = ANY (claim_ids) ORDER BY c.id FOR UPDATE);
    INSERT INTO {{schema}}.runnable_tasks
        (queue, handler, priority, position, id, attempts, crashes, retries, pushed_at, due_at, key, parent, args)
    SELECT u.queue, u.handler, u.priority, nextval('{{schema}}.task_ids'), u.id, u.attempts, u.crashes, u.retries,
           u.pushed_at, u.due_at, u.key, u.parent, u.args
    FROM {{schema}}.unended AS u WHERE u.claim_id = ANY (mine);
    GET DIAGNOSTICS moved = ROW_COUNT;
    DELETE FROM {{schema}}.claims AS c WHERE c.id = ANY (mine);
    IF moved > 0 THEN
        PERFORM {{schema}}.wake();
    END IF;
    RETURN moved;
END $$;
COMMENT ON FUNCTION {{schema}}.release_claims(bigint[]) IS 'Gives back, unburnt, the tasks of these claims that have not ended.';

CREATE FUNCTION {{schema}}.rescue(orphans boolean DEFAULT true, most integer DEFAULT 100)
RETURNS TABLE (runner_ids bigint[], runner_names text[], tasks bigint, failed bigint, cancelled bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    dead bigint[];
    dead_names text[];
    taken bigint[];
    leftover bigint[];
    n_tasks bigint := 0;
    n_failed bigint := 0;
    n_cancelled bigint := 0;
BEGIN
    PERFORM {{schema}}.need_read_committed('rescue');
    SELECT coalesce(array_agg(r.id), '{}'), coalesce(array_agg(r.name), '{}') INTO dead, dead_names
    FROM (SELECT id, name FROM {{schema}}.runners WHERE expires_at < now() ORDER BY id FOR UPDATE SKIP LOCKED) AS r;

    -- As stored: arguments of a few MiB, or one claim, are taken back in a moment.
    WITH held AS MATERIALIZED (
        SELECT c.id, pg_column_size(c.args)::bigint AS bytes FROM {{schema}}.claims AS c
        WHERE c.expires_at < now() ORDER BY c.id LIMIT most FOR UPDATE SKIP LOCKED)
    SELECT coalesce(array_agg(h.id), '{}') INTO taken
    FROM (SELECT id, sum(bytes) OVER (ORDER BY id) - bytes AS before FROM held) AS h WHERE h.before < 8388608;
    IF cardinality(dead) > 0 OR orphans THEN
        -- A claim without a runner comes from a runner that was removed while it claimed.
        WITH held AS MATERIALIZED (
            SELECT c.id, pg_column_size(c.args)::bigint AS bytes FROM {{schema}}.claims AS c
            WHERE c.runner_id IS NOT NULL
              AND (c.runner_id = ANY (dead) OR NOT EXISTS (SELECT FROM {{schema}}.runners AS r WHERE r.id = c.runner_id))
            ORDER BY c.id LIMIT most FOR UPDATE SKIP LOCKED)
        SELECT taken || coalesce(array_agg(h.id), '{}') INTO taken
        FROM (SELECT id, sum(bytes) OVER (ORDER BY id) - bytes AS before FROM held) AS h WHERE h.before < 8388608;
    END IF;

    IF cardinality(taken) > 0 THEN
        WITH task AS MATERIALIZED (
            SELECT u.*, nextval('{{schema}}.task_ids') AS position, x.task_id IS NOT NULL AS asked,
                   u.runner_id IS NULL AS external,
                   CASE WHEN u.runner_id IS NULL THEN u.attempts + 1 ELSE u.attempts END AS attempts_now,
                   -- Only a task that ran alone is surely to blame: the others stop at 2.
                   CASE WHEN u.runner_id IS NULL THEN u.crashes WHEN u.solo THEN u.crashes + 1
                        ELSE greatest(u.crashes, least(u.crashes + 1, 2)) END AS crashes_now
            FROM {{schema}}.unended AS u
            LEFT JOIN {{schema}}.cancellations AS x ON x.claim_id = u.claim_id AND x.task_id = u.id
            WHERE u.claim_id = ANY (taken)
        ), judged AS MATERIALIZED (
            SELECT t.*, CASE
                WHEN t.asked THEN 'cancelled'
                WHEN t.crashes_now >= 3 THEN 'failed'
                WHEN t.external AND coalesce(t.retries, 20) BETWEEN 0 AND t.attempts_now - 1 THEN 'failed'
                ELSE 'runnable' END AS fate
            FROM task AS t
        ), ended AS (
            INSERT INTO {{schema}}.history
                (id, state, priority, attempts, crashes, retries, queue, handler, args, error_kind, error_message,
                 pushed_at, due_at, started_at, runner_id, claim_id, key, parent)
            SELECT j.id, j.fate, j.priority, j.attempts_now, j.crashes_now, j.retries, j.queue, j.handler, j.args,
                   CASE WHEN j.fate = 'cancelled' THEN NULL WHEN j.external THEN 'timeout' ELSE 'crash' END,
                   CASE WHEN j.fate = 'cancelled' THEN 'cancelled while it ran'
                        WHEN j.external THEN 'the worker that popped it did not end it before its lease ran out'
                        ELSE format('%s runners died while they ran it, the last one while it ran alone', j.crashes_now) END,
                   j.pushed_at, j.due_at, j.claimed_at, j.runner_id, j.claim_id, j.key, j.parent
            FROM judged AS j WHERE j.fate <> 'runnable'
        ), again AS (
            INSERT INTO {{schema}}.runnable_tasks
                (queue, handler, priority, position, id, attempts, crashes, retries, pushed_at, due_at, key, parent, args)
            SELECT j.queue, j.handler, j.priority, j.position, j.id, j.attempts_now, j.crashes_now, j.retries,
                   j.pushed_at, j.due_at, j.key, j.parent, j.args
            FROM judged AS j WHERE j.fate = 'runnable'
        ), logged AS (
            INSERT INTO {{schema}}.attempts (task_id, claim_id, number, kind, error_message, started_at, runner_id)
            SELECT j.id, j.claim_id, j.attempts + 1, CASE WHEN j.external THEN 'expired' ELSE 'crash' END,
                   CASE WHEN j.external THEN 'the lease ran out' ELSE 'its runner died' END, j.claimed_at, j.runner_id
            FROM judged AS j WHERE j.fate = 'runnable'
        )
        SELECT count(*) FILTER (WHERE fate = 'runnable'), count(*) FILTER (WHERE fate = 'failed'),
               count(*) FILTER (WHERE fate = 'cancelled')
        INTO n_tasks, n_failed, n_cancelled FROM judged;
        DELETE FROM {{schema}}.claims AS c WHERE c.id = ANY (taken);
    END IF;
    -- One that still has claims, locked by an ending under way or beyond the limit, is looked at again.
    DELETE FROM {{schema}}.runners AS r
    WHERE r.id = ANY (dead) AND NOT EXISTS (SELECT FROM {{schema}}.claims AS c WHERE c.runner_id = r.id);

    -- A cancel that crossed with a retry: the task has left the claim it was asked for in.
    WITH gone AS (
        DELETE FROM {{schema}}.cancellations AS x
        WHERE NOT EXISTS (SELECT FROM {{schema}}.unended AS u WHERE u.claim_id = x.claim_id AND u.id = x.task_id)
        RETURNING x.task_id
    )
    SELECT array_agg(task_id) INTO leftover FROM gone;
    IF leftover IS NOT NULL THEN
        PERFORM {{schema}}.cancel_tasks(leftover);
    END IF;

    IF n_tasks > 0 THEN
        PERFORM {{schema}}.wake();
    END IF;
    RETURN QUERY SELECT dead, dead_names, n_tasks, n_failed, n_cancelled;
END $$;
COMMENT ON FUNCTION {{schema}}.rescue(boolean, integer) IS 'Takes back the claims of dead runners and the expired claims of external workers, so many of each at most; call again while it finds some.';
