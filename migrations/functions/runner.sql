-- Functions for runners: promote, release and rescue. Claim and finish are statements of
-- the runner's program. At READ COMMITTED each statement of a volatile function sees what
-- was committed before it began; several of these functions rely on this.

-- Under an old snapshot the index keeps an entry for each promoted task. A caller that
-- promotes many tasks passes the position at which the last call stopped, and reads the
-- entries once. If a value cannot be read, the statement fails and is repeated without
-- it.
CREATE OR REPLACE FUNCTION {{schema}}.promote(batch integer DEFAULT 1000, after_due timestamptz DEFAULT '-infinity', after_id bigint DEFAULT 0)
RETURNS TABLE (count bigint, next_due interval, last_due timestamptz, last_id bigint, more boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
    moved bigint;
    last_due timestamptz;
    last_id bigint;
    more boolean;
    woken text[];
    left_out bigint[] := {{schema}}.unreadable_tasks();
    reads_each boolean := false;
BEGIN
    LOOP
        BEGIN
            WITH due AS MATERIALIZED (
                SELECT s.ctid, s.run_at, s.id,
                       CASE WHEN reads_each THEN {{schema}}.stored_bytes(s.id, s.args, s.traits, s.key) ELSE pg_column_size(s.args) END AS bytes
                FROM {{schema}}.scheduled_tasks AS s
                WHERE s.run_at <= now() AND (s.run_at, s.id) > (after_due, after_id) AND s.id <> ALL (left_out)
                ORDER BY s.run_at, s.id LIMIT batch
                FOR UPDATE SKIP LOCKED
            ), sized AS MATERIALIZED (
                -- As stored. At least one task; null marks those that cannot be read.
                SELECT d.*, coalesce(sum(d.bytes) OVER w <= 8388608, true) OR coalesce(sum(d.bytes) OVER w = d.bytes, false) AS fits
                FROM due AS d WINDOW w AS (ORDER BY d.run_at, d.id)
            ), gone AS MATERIALIZED (
                DELETE FROM {{schema}}.scheduled_tasks AS s
                WHERE s.ctid = ANY (ARRAY(SELECT z.ctid FROM sized AS z WHERE z.fits AND z.bytes IS NOT NULL)) RETURNING s.*
            ), put AS (
                INSERT INTO {{schema}}.runnable_tasks ({{carried}}, position, id, attempts, crashes, due_at)
                SELECT {{carried g}}, nextval('{{schema}}.task_ids'), g.id, g.attempts, g.crashes, g.run_at
                FROM (SELECT * FROM gone ORDER BY run_at, id) AS g
            )
            SELECT z.run_at, z.id, z.n = batch OR NOT z.fit_all, g.n, g.queues INTO last_due, last_id, more, moved, woken
            FROM (SELECT count(*) AS n, array_agg(DISTINCT gone.queue) AS queues FROM gone) AS g
            LEFT JOIN (SELECT t.run_at, t.id, t.fits, count(*) OVER () AS n, bool_and(t.fits) OVER () AS fit_all FROM sized AS t) AS z ON z.fits
            ORDER BY z.run_at DESC, z.id DESC LIMIT 1;
            EXIT;
        EXCEPTION WHEN data_corrupted OR index_corrupted OR character_not_in_repertoire OR untranslatable_character THEN
            IF reads_each THEN
                RAISE;
            END IF;
            reads_each := true;
        END;
    END LOOP;
    IF moved > 0 THEN
        PERFORM {{schema}}.wake(woken);
    END IF;
    last_due := coalesce(last_due, after_due);
    last_id := coalesce(last_id, after_id);
    RETURN QUERY SELECT moved, (
        SELECT greatest(s.run_at - clock_timestamp(), interval '0')
        FROM {{schema}}.scheduled_tasks AS s
        WHERE (s.run_at, s.id) > (last_due, last_id) AND s.id <> ALL (left_out) ORDER BY s.run_at, s.id LIMIT 1),
        last_due, last_id, coalesce(more, false);
END $$;
COMMENT ON FUNCTION {{schema}}.promote(integer, timestamptz, bigint)
    IS 'Makes due tasks runnable, starting at a position in their order; at most 8 MiB of arguments, but at least one task. Returns how many, how long until the next one is due, the position of the last, and whether to call again at once from there.';

-- For claim.sql, if the rows that it found may exceed the limit in bytes of arguments.
-- First by stored size, which is the minimum, so that few of them are read.
CREATE OR REPLACE FUNCTION {{schema}}.first_bytes(places tid[], most bigint) RETURNS tid[]
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN ARRAY(
        WITH few AS MATERIALIZED (
            SELECT each.ctid, each.ordinal FROM (
                SELECT f.ctid, f.ordinal, sum(pg_column_size(r.args)) OVER (ORDER BY f.ordinal) AS total
                FROM unnest(places) WITH ORDINALITY AS f (ctid, ordinal)
                CROSS JOIN LATERAL (SELECT t.args FROM {{schema}}.runnable_tasks AS t WHERE t.ctid = f.ctid) AS r
            ) AS each
            WHERE each.ordinal = 1 OR each.total <= most
        )
        SELECT each.ctid FROM (
            SELECT f.ctid, f.ordinal, sum(octet_length(r.args::text)) OVER (ORDER BY f.ordinal) AS total
            FROM few AS f
            CROSS JOIN LATERAL (SELECT t.args FROM {{schema}}.runnable_tasks AS t WHERE t.ctid = f.ctid) AS r
        ) AS each
        WHERE each.ordinal = 1 OR each.total <= most);
END $$;
COMMENT ON FUNCTION {{schema}}.first_bytes(tid[], bigint) IS 'The first of these runnable rows whose arguments together are within the limit in bytes; at least one.';

CREATE OR REPLACE FUNCTION {{schema}}.release_claims(claim_ids bigint[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    mine bigint[];
    moved bigint;
    woken text[];
    one bigint;
BEGIN
    PERFORM {{schema}}.need_read_committed('release claims');
    mine := ARRAY(SELECT c.id FROM {{schema}}.claims AS c WHERE c.id = ANY (claim_ids) ORDER BY c.id FOR UPDATE);
    BEGIN
        WITH put AS (
            INSERT INTO {{schema}}.runnable_tasks ({{carried}}, position, id, attempts, crashes, due_at)
            SELECT {{carried u}}, nextval('{{schema}}.task_ids'), u.id, u.attempts, u.crashes, u.due_at
            FROM {{schema}}.in_flight AS u WHERE u.claim_id = ANY (mine) AND u.runner_id IS NOT NULL
            RETURNING queue
        )
        SELECT count(*), array_agg(DISTINCT p.queue) INTO moved, woken FROM put AS p;
        DELETE FROM {{schema}}.claims AS c WHERE c.id = ANY (mine);
    EXCEPTION WHEN data_corrupted OR index_corrupted OR character_not_in_repertoire OR untranslatable_character THEN
        moved := 0;
        woken := NULL;
        IF cardinality(mine) = 1 THEN
            RAISE WARNING 'claim % cannot be read and stays: %', mine[1], SQLERRM;
        ELSE
            FOREACH one IN ARRAY mine LOOP
                moved := moved + {{schema}}.release_claims(ARRAY[one]);
            END LOOP;
        END IF;
    END;
    IF woken IS NOT NULL THEN
        PERFORM {{schema}}.wake(woken);
    END IF;
    RETURN moved;
END $$;
COMMENT ON FUNCTION {{schema}}.release_claims(bigint[]) IS 'Releases the unfinished tasks of these claims, without using an attempt. A claim that cannot be read stays, with a warning.';

-- A claim with an unreadable value does not prevent the rescue of others.
CREATE OR REPLACE FUNCTION {{schema}}.take_back(claim_ids bigint[], crashed bigint[], max_crashes integer)
RETURNS TABLE (tasks bigint, failed bigint, cancelled bigint, left_out bigint[])
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    n_tasks bigint;
    n_failed bigint;
    n_cancelled bigint;
BEGIN
    BEGIN
        WITH task AS MATERIALIZED (
            SELECT u.*, nextval('{{schema}}.task_ids') AS position, x.task_id IS NOT NULL AS asked,
                   -- A claim without a runner's row was lost before the runner worked on it.
                   coalesce(u.id = ANY (r.started), false) AS started, coalesce(r.draining, false) AS draining,
                   u.solo AND cardinality(r.started) = 1 AS alone,
                   coalesce(u.runner_id = ANY (crashed) AND u.id = ANY (r.started), false) AS crashed,
                   (SELECT count(*) FROM {{schema}}.crash_reports AS o WHERE o.task_id = u.id AND o.counted IS NULL) AS n_open
            FROM {{schema}}.in_flight AS u
            LEFT JOIN {{schema}}.runners AS r ON r.id = u.runner_id
            LEFT JOIN {{schema}}.cancellations AS x ON x.claim_id = u.claim_id AND x.task_id = u.id
            WHERE u.claim_id = ANY (claim_ids) AND u.runner_id IS NOT NULL
        ), counted AS MATERIALIZED (
            -- Only the single suspect of a runner can reach the limit.
            SELECT t.*, t.started AND NOT t.draining AS reported, CASE
                WHEN NOT t.crashed THEN t.crashes WHEN t.solo THEN t.crashes + 1
                ELSE greatest(t.crashes, least(t.crashes + 1, greatest(max_crashes - 1, 1))) END AS crashes_now
            FROM task AS t
        ), judged AS MATERIALIZED (
            SELECT t.*, CASE
                WHEN t.asked THEN 'cancelled'
                WHEN t.crashed AND t.solo AND t.crashes_now >= max_crashes + CASE WHEN t.alone THEN 0 ELSE 1 END
                    THEN CASE WHEN {{schema}}.retries_forever(t.retries, t.handler) THEN 'scheduled' ELSE 'failed' END
                -- It may be the cause of the crash, which is not proven yet: wait until it can be.
                WHEN t.reported AND NOT t.crashed AND (t.solo OR t.n_open >= 2) THEN 'scheduled'
                ELSE 'runnable' END AS fate,
                CASE WHEN t.crashed THEN least(power(2, least(t.crashes_now, 20)), 3600) * interval '1 second'
                     ELSE {{schema}}.crash_wait() * 1.5 END AS delay
            FROM counted AS t
        ), ended AS (
            INSERT INTO {{schema}}.history
                ({{carried}}, id, state, attempts, crashes, error_kind, error_message, due_at, started_at, runner_id, claim_id)
            SELECT {{carried j}}, j.id, j.fate, j.attempts, j.crashes_now, CASE WHEN j.fate = 'failed' THEN 'crash' END,
                   CASE WHEN j.fate = 'cancelled' THEN 'cancelled while it ran'
                        ELSE j.crashes_now || ' runners died while they ran it, the last one while it ' || CASE WHEN j.alone THEN 'ran alone' ELSE 'was the only suspect' END END,
                   j.due_at, j.claimed_at, j.runner_id, j.claim_id
            FROM judged AS j WHERE j.fate IN ('cancelled', 'failed')
        ), again AS (
            INSERT INTO {{schema}}.runnable_tasks ({{carried}}, position, id, attempts, crashes, due_at)
            SELECT {{carried j}}, j.position, j.id, j.attempts, j.crashes_now, j.due_at
            FROM judged AS j WHERE j.fate = 'runnable'
        ), later AS (
            INSERT INTO {{schema}}.scheduled_tasks ({{carried}}, id, attempts, crashes, run_at)
            SELECT {{carried j}}, j.id, j.attempts, j.crashes_now, now() + j.delay
            FROM judged AS j WHERE j.fate = 'scheduled'
        ), reports AS (
            INSERT INTO {{schema}}.crash_reports (task_id, claim_id, runner_id, solo, alone, started_at, counted)
            SELECT j.id, j.claim_id, j.runner_id, j.solo, j.alone, j.claimed_at, CASE WHEN j.crashed THEN j.crashes_now - j.crashes END
            FROM judged AS j WHERE j.reported AND j.fate <> 'cancelled'
            ON CONFLICT DO NOTHING
        ), logged AS (
            INSERT INTO {{schema}}.attempts (task_id, claim_id, number, kind, error_message, started_at, runner_id)
            SELECT j.id, j.claim_id, j.attempts + 1,
                   CASE WHEN j.crashed THEN 'crash' WHEN j.draining THEN 'release' ELSE 'lost' END,
                   CASE WHEN j.crashed THEN 'its runner died'
                        WHEN j.draining THEN 'its runner was stopped before it could give it back'
                        ELSE 'the lease of its runner ran out' END, j.claimed_at, j.runner_id
            FROM judged AS j WHERE j.fate IN ('runnable', 'scheduled') AND j.started
        )
        SELECT count(*) FILTER (WHERE fate IN ('runnable', 'scheduled')), count(*) FILTER (WHERE fate = 'failed'),
               count(*) FILTER (WHERE fate = 'cancelled')
        INTO n_tasks, n_failed, n_cancelled FROM judged;
        DELETE FROM {{schema}}.claims AS c WHERE c.id = ANY (claim_ids);
        RETURN QUERY SELECT n_tasks, n_failed, n_cancelled, '{}'::bigint[];
    EXCEPTION WHEN data_corrupted OR index_corrupted OR character_not_in_repertoire OR untranslatable_character THEN
        IF cardinality(claim_ids) = 1 THEN
            RAISE WARNING 'claim % cannot be read and stays: %', claim_ids[1], SQLERRM;
            RETURN QUERY SELECT 0::bigint, 0::bigint, 0::bigint, claim_ids;
        ELSE
            RETURN QUERY
                SELECT sum(b.tasks)::bigint, sum(b.failed)::bigint, sum(b.cancelled)::bigint,
                       coalesce(array_agg(one.id) FILTER (WHERE cardinality(b.left_out) > 0), '{}')
                FROM unnest(claim_ids) AS one (id)
                CROSS JOIN LATERAL {{schema}}.take_back(ARRAY[one.id], crashed, max_crashes) AS b;
        END IF;
    END;
END $$;
COMMENT ON FUNCTION {{schema}}.take_back(bigint[], bigint[], integer) IS 'Returns the unfinished tasks of these lost claims to the queue. Returns the claims that cannot be read: these stay. For rescue.';

CREATE OR REPLACE FUNCTION {{schema}}.rescue(orphans boolean DEFAULT true, most integer DEFAULT 100, max_crashes integer DEFAULT 3, except_claims bigint[] DEFAULT '{}')
RETURNS TABLE (runner_ids bigint[], runner_names text[], tasks bigint, failed bigint, cancelled bigint, left_out bigint[])
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    dead bigint[];
    dead_names text[];
    crashed bigint[];
    taken bigint[] := '{}';
    leftover bigint[];
    n_tasks bigint := 0;
    n_failed bigint := 0;
    n_cancelled bigint := 0;
    unread bigint[] := '{}';
    one bigint;
BEGIN
    PERFORM {{schema}}.need_read_committed('rescue');
    SELECT coalesce(array_agg(r.id), '{}'), coalesce(array_agg(r.name), '{}') INTO dead, dead_names
    FROM (SELECT id, name FROM {{schema}}.runners WHERE expires_at < now() ORDER BY id FOR UPDATE SKIP LOCKED) AS r;
    FOREACH one IN ARRAY dead LOOP
        BEGIN
            PERFORM {{schema}}.judge_runner(one);
        EXCEPTION WHEN data_corrupted OR index_corrupted THEN
            RAISE WARNING 'the started tasks of runner % cannot be read, and no crash is counted for them: %', one, SQLERRM;
        END;
    END LOOP;
    -- Runners whose process has certainly ended, while other runners reached the database all
    -- the time.
    crashed := ARRAY(
        SELECT r.id FROM {{schema}}.runners AS r
        WHERE r.id = ANY (dead) AND NOT r.draining AND r.backend IS NOT NULL
          AND NOT EXISTS (SELECT FROM pg_stat_get_activity(r.backend))
          AND {{schema}}.witnessed_since(r.id) < now() - {{schema}}.crash_wait() / 2);
    n_failed := {{schema}}.count_crashes(max_crashes);

    IF cardinality(dead) > 0 OR orphans THEN
        -- A claim without a runner comes from a runner that was removed while it claimed. By
        -- stored size: a few MiB of arguments, or one claim, are taken back quickly.
        WITH held AS MATERIALIZED (
            SELECT c.id, pg_column_size(c.args)::bigint AS bytes FROM {{schema}}.claims AS c
            WHERE c.id <> ALL (except_claims)
              AND (c.runner_id = ANY (dead) OR NOT EXISTS (SELECT FROM {{schema}}.runners AS r WHERE r.id = c.runner_id))
            ORDER BY c.id LIMIT most FOR UPDATE SKIP LOCKED)
        SELECT taken || coalesce(array_agg(h.id), '{}') INTO taken
        FROM (SELECT id, sum(bytes) OVER (ORDER BY id) - bytes AS before FROM held) AS h WHERE h.before < 8388608;
    END IF;

    IF cardinality(taken) > 0 THEN
        SELECT b.tasks, n_failed + b.failed, b.cancelled, b.left_out INTO n_tasks, n_failed, n_cancelled, unread
        FROM {{schema}}.take_back(taken, crashed, max_crashes) AS b;
    END IF;
    -- A runner that still has claims (locked by a concurrent outcome, or beyond the limit) is
    -- handled by the next call. Unreadable claims do not count: they are found as claims
    -- without a runner.
    DELETE FROM {{schema}}.runners AS r
    WHERE r.id = ANY (dead)
      AND NOT EXISTS (SELECT FROM {{schema}}.claims AS c WHERE c.runner_id = r.id AND c.id <> ALL (except_claims || unread));

    -- A cancel that crossed with a retry: the task has left the claim for which the cancel
    -- was requested. Like the view in_flight, without reading arguments.
    WITH gone AS (
        DELETE FROM {{schema}}.cancellations AS x
        WHERE NOT EXISTS (
                SELECT FROM {{schema}}.claims AS c
                WHERE c.id = x.claim_id AND x.task_id = ANY (c.task_ids)
                  AND NOT EXISTS (SELECT FROM {{schema}}.history AS h
                                  WHERE h.id = x.task_id AND h.claim_id = c.id AND h.finished_at >= c.claimed_at - interval '1 hour')
                  AND NOT EXISTS (SELECT FROM {{schema}}.attempts AS a
                                  WHERE a.task_id = x.task_id AND a.claim_id = c.id AND a.ended_at >= c.claimed_at - interval '1 hour'))
          AND NOT EXISTS (SELECT FROM {{schema}}.popped AS p WHERE p.claim_id = x.claim_id AND p.task_id = x.task_id)
        RETURNING x.task_id
    )
    SELECT array_agg(task_id) INTO leftover FROM gone;
    IF leftover IS NOT NULL THEN
        PERFORM {{schema}}.cancel_tasks(leftover);
    END IF;

    IF n_tasks > 0 THEN
        PERFORM {{schema}}.wake();
    END IF;
    RETURN QUERY SELECT dead, dead_names, n_tasks, n_failed, n_cancelled, unread;
END $$;
COMMENT ON FUNCTION {{schema}}.rescue(boolean, integer, integer, bigint[])
    IS 'Returns the tasks of lost runners to the queue, at most this many claims per call, except the given ones; call it again while it finds some. Returns the claims that cannot be read, which stay. For leases of workers see tend.';
