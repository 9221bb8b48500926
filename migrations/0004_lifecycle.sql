-- What happens to tasks between push and the end, apart from claim and finish,
-- which are the runner's statements: promote, rescue, release, partitions.
-- Each statement of a volatile function sees what committed before it began
-- (at READ COMMITTED); several of these functions rest on that.

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

-- An unknown commit can leave an ending of a claim recorded and the claim in
-- place, and an ending can commit while rescue waits: so the claims are locked
-- in one statement and their tasks read in the next, which sees that ending.
CREATE FUNCTION {{schema}}.rescue(orphans boolean DEFAULT true)
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
    SELECT coalesce(array_agg(r.id), '{}'), coalesce(array_agg(r.name), '{}') INTO dead, dead_names
    FROM (SELECT id, name FROM {{schema}}.runners WHERE expires_at < now() ORDER BY id FOR UPDATE SKIP LOCKED) AS r;

    taken := ARRAY(
        SELECT c.id FROM {{schema}}.claims AS c
        WHERE c.expires_at < now() ORDER BY c.id LIMIT 100 FOR UPDATE SKIP LOCKED);
    IF cardinality(dead) > 0 OR orphans THEN
        -- A claim without a runner comes from a runner that was removed while it claimed.
        taken := taken || ARRAY(
            SELECT c.id FROM {{schema}}.claims AS c
            WHERE c.runner_id IS NOT NULL
              AND (c.runner_id = ANY (dead) OR NOT EXISTS (SELECT FROM {{schema}}.runners AS r WHERE r.id = c.runner_id))
            ORDER BY c.id LIMIT 100 FOR UPDATE SKIP LOCKED);
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
COMMENT ON FUNCTION {{schema}}.rescue(boolean) IS 'Takes back the claims of dead runners and the expired claims of external workers.';

CREATE FUNCTION {{schema}}.make_partitions(ahead integer DEFAULT 3) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    day date;
    parent text;
    child text;
    made bigint := 0;
BEGIN
    FOREACH parent IN ARRAY ARRAY['history', 'attempts'] LOOP
        FOR i IN 0 .. ahead LOOP
            day := today + i;
            child := format('%s_%s', parent, to_char(day, 'YYYY_MM_DD'));
            CONTINUE WHEN to_regclass(format('{{schema}}.%I', child)) IS NOT NULL;
            BEGIN
                EXECUTE format('CREATE TABLE {{schema}}.%I PARTITION OF {{schema}}.%I FOR VALUES FROM (%L) TO (%L)',
                    child, parent, to_char(day, 'YYYY-MM-DD 00:00:00+00'), to_char(day + 1, 'YYYY-MM-DD 00:00:00+00'));
                made := made + 1;
            EXCEPTION WHEN check_violation OR duplicate_table OR invalid_object_definition THEN
                -- The default partition holds rows of that day already, or another runner was faster.
                NULL;
            END;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
COMMENT ON FUNCTION {{schema}}.make_partitions(integer) IS 'Makes the partitions of today and the next days.';

CREATE FUNCTION {{schema}}.old_partitions(oldest date) RETURNS TABLE (name regclass, parent text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.oid::regclass, p.relname::text
    FROM pg_inherits AS i
    JOIN pg_class AS c ON c.oid = i.inhrelid
    JOIN pg_class AS p ON p.oid = i.inhparent
    WHERE i.inhparent IN ('{{schema}}.history'::regclass, '{{schema}}.attempts'::regclass)
      AND c.relname ~ '_\d{4}_\d{2}_\d{2}$'
      AND to_date(right(c.relname, 10), 'YYYY_MM_DD') < oldest
    ORDER BY c.relname
$$;
COMMENT ON FUNCTION {{schema}}.old_partitions(date) IS 'Partitions of days before this one. For prune.';

CREATE FUNCTION {{schema}}.prune(retention interval, batch integer DEFAULT 10000)
RETURNS TABLE (created bigint, dropped bigint, deleted bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- The endings of a live claim stay: they are what tells rescue that a task has ended.
    oldest date := (least(now() - greatest(retention, interval '1 hour'),
                          (SELECT min(claimed_at) FROM {{schema}}.claims)) AT TIME ZONE 'UTC')::date;
    child record;
    n_dropped bigint := 0;
    n_deleted bigint := 0;
    n bigint;
    timeout text := current_setting('lock_timeout');
BEGIN
    -- Dropping waits for readers, and everybody waits behind it: not for long.
    PERFORM set_config('lock_timeout', '2s', true);
    FOR child IN SELECT o.* FROM {{schema}}.old_partitions(oldest) AS o WHERE o.parent = 'history' LOOP
        BEGIN
            EXECUTE format('DELETE FROM {{schema}}.keys AS k USING %s AS h
                WHERE h.key IS NOT NULL AND k.queue = h.queue AND k.key = h.key AND k.task_id = h.id', child.name);
            GET DIAGNOSTICS n = ROW_COUNT;
            n_deleted := n_deleted + n;
        EXCEPTION WHEN lock_not_available OR undefined_table THEN
            NULL;
        END;
    END LOOP;
    WITH gone AS (
        DELETE FROM {{schema}}.history_default AS h
        WHERE h.ctid = ANY (ARRAY(SELECT d.ctid FROM {{schema}}.history_default AS d WHERE d.finished_at < oldest LIMIT batch))
        RETURNING h.queue, h.key, h.id
    ), unkeyed AS (
        DELETE FROM {{schema}}.keys AS k USING gone AS g
        WHERE g.key IS NOT NULL AND k.queue = g.queue AND k.key = g.key AND k.task_id = g.id
    )
    SELECT n_deleted + count(*) INTO n_deleted FROM gone;
    WITH gone AS (
        DELETE FROM {{schema}}.attempts_default AS a
        WHERE a.ctid = ANY (ARRAY(SELECT d.ctid FROM {{schema}}.attempts_default AS d WHERE d.ended_at < oldest LIMIT batch))
        RETURNING 1
    )
    SELECT n_deleted + count(*) INTO n_deleted FROM gone;
    -- Last, because from the first drop on nobody can end a task until we commit.
    FOR child IN SELECT o.* FROM {{schema}}.old_partitions(oldest) AS o LOOP
        BEGIN
            EXECUTE format('DROP TABLE %s', child.name);
            n_dropped := n_dropped + 1;
        EXCEPTION WHEN lock_not_available OR undefined_table THEN
            NULL;  -- The next prune drops it, or another runner was faster.
        END;
    END LOOP;
    BEGIN
        n := {{schema}}.make_partitions();
    EXCEPTION WHEN lock_not_available THEN
        n := 0;
    END;
    PERFORM set_config('lock_timeout', timeout, true);
    RETURN QUERY SELECT n, n_dropped, n_deleted;
END $$;
COMMENT ON FUNCTION {{schema}}.prune(interval, integer) IS 'Drops days of history older than the retention (one hour at least) with their keys, and makes the next days'' partitions.';

SELECT {{schema}}.make_partitions();
