-- A crash counts only with proof. Rescue returns tasks to the queue at once, and reports
-- those that may have been running. A report is counted if the database was available to
-- other runners all the time and the runner is gone: at once if its heartbeat's
-- connection has ended too, otherwise after crash_wait. A runner that returns withdraws
-- its reports. A restart, a failover, a stalled disk and a changed clock interrupt all
-- heartbeats: then there is no proof.

CREATE OR REPLACE FUNCTION {{schema}}.crash_wait() RETURNS interval
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT interval '20 seconds' $$;
COMMENT ON FUNCTION {{schema}}.crash_wait() IS 'How long a lost runner can take to return before its loss is a crash: a lease and a margin.';

CREATE OR REPLACE FUNCTION {{schema}}.server_is_settled() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT pg_postmaster_start_time() < now() - interval '30 seconds' $$;
COMMENT ON FUNCTION {{schema}}.server_is_settled() IS 'Whether the server was started long enough ago for every runner to have reconnected.';

CREATE OR REPLACE FUNCTION {{schema}}.witnessed_since(except_runner bigint DEFAULT NULL) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT min(r.steady_since) FROM {{schema}}.runners AS r
    WHERE r.expires_at > now() AND r.seen_at > now() - interval '8 seconds' AND {{schema}}.server_is_settled()
      AND r.id IS DISTINCT FROM except_runner
$$;
COMMENT ON FUNCTION {{schema}}.witnessed_since(bigint)
    IS 'Since when another runner has reached this database without a gap; null: it is not known whether the database was available.';

CREATE OR REPLACE FUNCTION {{schema}}.retries_forever(retries integer, handler text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN retries_forever.retries IS NOT NULL THEN retries_forever.retries = -1
        ELSE EXISTS (SELECT FROM {{schema}}.handlers AS h
                     WHERE h.name = retries_forever.handler AND h.info #>> '{retry,retries}' = 'forever') END
$$;
COMMENT ON FUNCTION {{schema}}.retries_forever(integer, text) IS 'Whether the task, or otherwise its handler, has unlimited retries: then no crash fails it.';

-- Changes the count of a waiting or running task. Null: the task has finished, or is
-- locked now. The count of a task that was not the only suspect stays below most.
CREATE OR REPLACE FUNCTION {{schema}}.add_crash(task bigint, after_claim bigint, delta integer, most integer DEFAULT 2147483647) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    was integer;
    place integer;
    held bigint;
    change integer;
BEGIN
    SELECT r.crashes INTO was FROM {{schema}}.runnable_tasks AS r
    WHERE r.id = add_crash.task AND r.position <> r.id FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        SELECT s.crashes INTO was FROM {{schema}}.scheduled_tasks AS s WHERE s.id = add_crash.task FOR UPDATE SKIP LOCKED;
    END IF;
    IF NOT FOUND THEN
        SELECT c.id, c.crashes, array_position(c.task_ids, add_crash.task) INTO held, was, place
        FROM (SELECT c.id, c.task_ids, c.crashes[array_position(c.task_ids, add_crash.task)] AS crashes FROM {{schema}}.claims AS c
              WHERE c.id > add_crash.after_claim AND c.runner_id IS NOT NULL AND add_crash.task = ANY (c.task_ids)
              ORDER BY c.id DESC LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS c;
    END IF;
    -- Null if it was not found.
    change := CASE WHEN was IS NULL THEN NULL WHEN delta < 0 THEN greatest(delta, -was) ELSE greatest(least(delta, most - was), 0) END;
    UPDATE {{schema}}.runnable_tasks AS r SET crashes = was + change WHERE r.id = add_crash.task AND r.position <> r.id AND held IS NULL AND change IS NOT NULL;
    UPDATE {{schema}}.scheduled_tasks AS s SET crashes = was + change WHERE s.id = add_crash.task AND held IS NULL AND change IS NOT NULL;
    UPDATE {{schema}}.claims AS c SET crashes[place] = was + change WHERE c.id = held;
    RETURN change;
END $$;
COMMENT ON FUNCTION {{schema}}.add_crash(bigint, bigint, integer, integer) IS 'Changes the crashes of an unfinished task. For count_crashes and withdraw_crashes.';

CREATE OR REPLACE FUNCTION {{schema}}.count_crashes(max_crashes integer DEFAULT 3) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    report record;
    added integer;
    n_failed bigint := 0;
BEGIN
    DELETE FROM {{schema}}.crash_reports AS x WHERE x.reported_at < now() - interval '1 day';
    IF NOT EXISTS (SELECT FROM {{schema}}.crash_reports AS x WHERE x.counted IS NULL)
        OR coalesce({{schema}}.witnessed_since() > now() - {{schema}}.crash_wait(), true) THEN
        RETURN 0;
    END IF;
    FOR report IN
        SELECT x.* FROM {{schema}}.crash_reports AS x
        WHERE x.counted IS NULL AND x.reported_at < now() - {{schema}}.crash_wait()
        ORDER BY x.task_id, x.claim_id LIMIT 1000 FOR UPDATE SKIP LOCKED
    LOOP
        -- A regular outcome since then has shown that the task does not crash its runner.
        IF EXISTS (SELECT FROM {{schema}}.attempts AS a
                   WHERE a.task_id = report.task_id AND a.claim_id > report.claim_id AND a.ended_at >= report.reported_at
                     AND a.kind NOT IN ('lost', 'crash', 'release', 'isolate'))
            OR EXISTS (SELECT FROM {{schema}}.history AS h WHERE h.id = report.task_id AND h.finished_at >= report.reported_at) THEN
            DELETE FROM {{schema}}.crash_reports AS x WHERE x.task_id = report.task_id AND x.claim_id = report.claim_id;
            CONTINUE;
        END IF;
        added := {{schema}}.add_crash(report.task_id, report.claim_id, 1,
            CASE WHEN report.solo THEN 2147483647 ELSE greatest(max_crashes - 1, 1) END);
        -- Locked now, or finished: the next call handles it.
        CONTINUE WHEN added IS NULL;
        UPDATE {{schema}}.crash_reports AS x SET counted = added WHERE x.task_id = report.task_id AND x.claim_id = report.claim_id;
        UPDATE {{schema}}.attempts AS a SET kind = 'crash', error_message = 'its runner died'
        WHERE a.task_id = report.task_id AND a.claim_id = report.claim_id AND a.kind = 'lost' AND a.ended_at >= report.reported_at;
        IF report.solo AND {{schema}}.fail_crashed(report.task_id, report.claim_id, max_crashes) THEN
            n_failed := n_failed + 1;
        END IF;
    END LOOP;
    RETURN n_failed;
END $$;
COMMENT ON FUNCTION {{schema}}.count_crashes(integer) IS 'Counts reported crashes that are proven, and fails tasks that have reached the limit. Returns how many failed. For rescue.';

-- If other tasks ran beside it, the single suspect was only the most likely cause: then
-- one crash more than the limit is needed.
CREATE OR REPLACE FUNCTION {{schema}}.fail_crashed(task bigint, claim bigint, max_crashes integer) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH over AS MATERIALIZED (
        SELECT t.id, t.is_scheduled, x.alone, x.started_at, x.runner_id
        FROM (SELECT r.id, r.crashes, r.retries, r.handler, false AS is_scheduled FROM {{schema}}.runnable_tasks AS r
              WHERE r.id = fail_crashed.task AND r.position <> r.id
              UNION ALL
              SELECT s.id, s.crashes, s.retries, s.handler, true FROM {{schema}}.scheduled_tasks AS s WHERE s.id = fail_crashed.task) AS t
        JOIN {{schema}}.crash_reports AS x ON x.task_id = t.id AND x.claim_id = fail_crashed.claim
        WHERE t.crashes >= max_crashes + CASE WHEN x.alone THEN 0 ELSE 1 END AND NOT {{schema}}.retries_forever(t.retries, t.handler)
    ), runnable AS (
        DELETE FROM {{schema}}.runnable_tasks AS r USING over AS o WHERE r.id = o.id AND r.position <> r.id AND NOT o.is_scheduled RETURNING r.*
    ), scheduled AS (
        DELETE FROM {{schema}}.scheduled_tasks AS s USING over AS o WHERE s.id = o.id AND o.is_scheduled RETURNING s.*
    ), gone AS (
        SELECT {{carried}}, id, attempts, crashes, due_at FROM runnable
        UNION ALL
        SELECT {{carried}}, id, attempts, crashes, run_at FROM scheduled
    )
    INSERT INTO {{schema}}.history ({{carried}}, id, state, attempts, crashes, error_kind, error_message, due_at, started_at, runner_id, claim_id)
    SELECT {{carried g}}, g.id, 'failed', g.attempts, g.crashes, 'crash',
           g.crashes || ' runners died while they ran it, the last one while it ' || CASE WHEN o.alone THEN 'ran alone' ELSE 'was the only suspect' END,
           g.due_at, o.started_at, o.runner_id, fail_crashed.claim
    FROM gone AS g JOIN over AS o ON o.id = g.id;
    IF FOUND THEN
        -- The row in history is this attempt's.
        DELETE FROM {{schema}}.attempts AS a WHERE a.task_id = fail_crashed.task AND a.claim_id = fail_crashed.claim;
        RETURN true;
    END IF;
    RETURN false;
END $$;
COMMENT ON FUNCTION {{schema}}.fail_crashed(bigint, bigint, integer) IS 'Fails a waiting task that has reached the limit of crashes. For count_crashes.';

CREATE OR REPLACE FUNCTION {{schema}}.withdraw_crashes(runner bigint, successor bigint DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    report record;
    n bigint := 0;
BEGIN
    FOR report IN
        SELECT x.* FROM {{schema}}.crash_reports AS x WHERE x.runner_id = withdraw_crashes.runner
        ORDER BY x.task_id, x.claim_id FOR UPDATE SKIP LOCKED
    LOOP
        IF EXISTS (SELECT FROM {{schema}}.history AS h
                   WHERE h.id = report.task_id AND h.claim_id = report.claim_id AND h.state = 'failed' AND h.error_kind = 'crash') THEN
            PERFORM {{schema}}.retry_tasks(ARRAY[report.task_id]);
        ELSIF (CASE WHEN report.counted > 0 THEN {{schema}}.add_crash(report.task_id, report.claim_id, -report.counted) IS NULL ELSE false END)
            AND NOT EXISTS (SELECT FROM {{schema}}.history AS h WHERE h.id = report.task_id) THEN
            -- Locked now: the next heartbeat tries again.
            UPDATE {{schema}}.crash_reports AS x SET runner_id = coalesce(withdraw_crashes.successor, x.runner_id)
            WHERE x.task_id = report.task_id AND x.claim_id = report.claim_id;
            CONTINUE;
        END IF;
        UPDATE {{schema}}.attempts AS a SET kind = 'lost', error_message = 'its runner was lost, and came back'
        WHERE a.task_id = report.task_id AND a.claim_id = report.claim_id AND a.kind = 'crash' AND a.ended_at >= report.reported_at;
        DELETE FROM {{schema}}.crash_reports AS x WHERE x.task_id = report.task_id AND x.claim_id = report.claim_id;
        n := n + 1;
    END LOOP;
    RETURN n;
END $$;
COMMENT ON FUNCTION {{schema}}.withdraw_crashes(bigint, bigint) IS 'Removes the reports and counted crashes of a runner that is alive. For the heartbeat.';

-- Slots take tasks in the order of claims. So at most as many of the tasks that had not
-- started at the last heartbeat are running as there were free slots; twice as many,
-- because some may have ended without being stored.
CREATE OR REPLACE FUNCTION {{schema}}.judge_runner(runner bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH held AS MATERIALIZED (
        SELECT t.id, r.started IS NULL OR t.id = ANY (r.started) AS had_started,
               row_number() OVER (PARTITION BY r.started IS NULL OR t.id = ANY (r.started) ORDER BY c.id, t.place) AS place, r.slots
        FROM {{schema}}.runners AS r
        JOIN {{schema}}.claims AS c ON c.runner_id = r.id
        CROSS JOIN LATERAL unnest(c.task_ids) WITH ORDINALITY AS t (id, place)
        WHERE r.id = judge_runner.runner AND NOT r.judged
          AND NOT EXISTS (SELECT FROM {{schema}}.history AS h
                          WHERE h.id = t.id AND h.claim_id = c.id AND h.finished_at >= c.claimed_at - interval '1 hour')
          AND NOT EXISTS (SELECT FROM {{schema}}.attempts AS a
                          WHERE a.task_id = t.id AND a.claim_id = c.id AND a.ended_at >= c.claimed_at - interval '1 hour')
    )
    UPDATE {{schema}}.runners AS r
    SET judged = true, started = ARRAY(
        SELECT h.id FROM held AS h
        WHERE h.had_started OR h.place <= 2 * greatest(h.slots - (SELECT count(*) FROM held AS s WHERE s.had_started), 0))
    WHERE r.id = judge_runner.runner AND NOT r.judged;
    BEGIN
        -- Terminates the runner's SQL transactions, to release their locks. Those of roles for
        -- which this role has no privilege end with their timeout, which is a lease.
        PERFORM pg_terminate_backend(a.pid) FROM pg_stat_activity AS a
        WHERE a.datname = current_database() AND a.application_name = format('pgtq runner %s in {{schema_name}}', judge_runner.runner)::name::text
          AND a.usesysid IS NOT NULL AND pg_has_role(a.usesysid, 'USAGE') AND a.pid <> pg_backend_pid();
    EXCEPTION WHEN insufficient_privilege THEN
        NULL;
    END;
END $$;
COMMENT ON FUNCTION {{schema}}.judge_runner(bigint) IS 'Stores which tasks of a lost runner may have been running, and terminates its SQL transactions. For rescue.';
