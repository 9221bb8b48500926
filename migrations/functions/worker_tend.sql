-- The API for workers, part three: tend, which one worker or runner calls each second.

-- An outage must not count against the tasks that workers held, because they could not
-- extend their leases. After a gap, tend gives them 15 seconds to do so. Leases that
-- expire until then count no attempt if the server was restarted or replaced. Otherwise
-- the gap may be a crash of the only worker, which called tend: a task that crashes its
-- worker must count.
CREATE OR REPLACE FUNCTION {{schema}}.expire_popped(since timestamptz, before timestamptz, most integer, lost_from timestamptz, lost_to timestamptz)
RETURNS TABLE (returned bigint, failed bigint, cancelled bigint, more boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    left_out bigint[] := {{schema}}.unreadable_tasks();
    reads_each boolean := false;
BEGIN
    LOOP BEGIN
        WITH held AS MATERIALIZED (
            -- By stored size: a few MiB of arguments, or one task, are taken back quickly.
            SELECT p.task_id, CASE WHEN reads_each THEN {{schema}}.stored_bytes(p.task_id, p.args, p.traits, p.key) ELSE pg_column_size(p.args) END AS bytes
            FROM {{schema}}.popped AS p
            WHERE p.expires_at >= expire_popped.since AND p.expires_at < expire_popped.before AND p.task_id <> ALL (left_out)
            ORDER BY p.expires_at LIMIT most FOR UPDATE SKIP LOCKED
        ), small AS MATERIALIZED (
            SELECT h.*, coalesce(sum(h.bytes) OVER w <= 8388608, true) OR coalesce(sum(h.bytes) OVER w = h.bytes, false) AS fits
            FROM held AS h WINDOW w AS (ORDER BY h.task_id)
        ), gone AS MATERIALIZED (
            DELETE FROM {{schema}}.popped AS p USING small AS s WHERE p.task_id = s.task_id AND s.fits AND s.bytes IS NOT NULL RETURNING p.*
        ), answered AS (
            DELETE FROM {{schema}}.cancellations AS x USING gone AS g WHERE x.claim_id = g.claim_id AND x.task_id = g.task_id
            RETURNING x.task_id
        ), judged AS MATERIALIZED (
            SELECT g.*, CASE WHEN a.task_id IS NOT NULL THEN 'cancelled'
                             WHEN coalesce(g.retries, 20) BETWEEN 0 AND g.attempts AND NOT o.lost THEN 'failed'
                             ELSE 'runnable' END AS fate, o.lost, l.logs, coalesce(l.dropped, 0) AS dropped
            FROM gone AS g
            CROSS JOIN LATERAL (SELECT coalesce(g.expires_at >= expire_popped.lost_from AND g.expires_at < expire_popped.lost_to, false) AS lost) AS o
            LEFT JOIN answered AS a ON a.task_id = g.task_id
            LEFT JOIN LATERAL {{schema}}.take_log(g.task_id, g.claim_id, g.log_seq) AS l ON g.log_seq > 0
        ), ended AS (
            INSERT INTO {{schema}}.history
                ({{carried}}, id, state, attempts, crashes, error_kind, error_message, logs, logs_dropped, due_at, started_at, claim_id)
            SELECT {{carried j}}, j.task_id, j.fate, j.attempts + 1, j.crashes, CASE WHEN j.fate = 'failed' THEN 'timeout' END,
                   CASE WHEN j.fate = 'failed' THEN format('the worker %s did not end it before its lease ran out', j.worker)
                        ELSE 'cancelled while it ran' END,
                   j.logs, j.dropped, j.due_at, j.popped_at, j.claim_id
            FROM judged AS j WHERE j.fate <> 'runnable'
        ), logged AS (
            INSERT INTO {{schema}}.attempts (task_id, claim_id, number, kind, error_message, logs, logs_dropped, started_at)
            SELECT j.task_id, j.claim_id, j.attempts + 1, CASE WHEN j.lost THEN 'lost' ELSE 'expired' END,
                   format(CASE WHEN j.lost THEN 'the lease of the worker %s ran out while the server was restarted'
                               ELSE 'the lease of the worker %s ran out' END, j.worker), j.logs, j.dropped, j.popped_at
            FROM judged AS j WHERE j.fate = 'runnable'
        ), again AS (
            INSERT INTO {{schema}}.runnable_tasks ({{carried}}, position, id, attempts, crashes, due_at)
            SELECT {{carried j}}, nextval('{{schema}}.task_ids'), j.task_id, j.attempts + CASE WHEN j.lost THEN 0 ELSE 1 END, j.crashes, j.due_at
            FROM judged AS j WHERE j.fate = 'runnable'
        )
        SELECT count(*) FILTER (WHERE j.fate = 'runnable'), count(*) FILTER (WHERE j.fate = 'failed'),
               count(*) FILTER (WHERE j.fate = 'cancelled'),
               (SELECT count(*) = most OR NOT coalesce(bool_and(s.fits), true) FROM small AS s)
        INTO returned, failed, cancelled, more
        FROM judged AS j;
        RETURN NEXT;
        RETURN;
    EXCEPTION WHEN data_corrupted OR index_corrupted OR character_not_in_repertoire OR untranslatable_character THEN
        IF reads_each THEN
            RAISE;
        END IF;
        reads_each := true;
    END; END LOOP;
END $$;
COMMENT ON FUNCTION {{schema}}.expire_popped(timestamptz, timestamptz, integer, timestamptz, timestamptz)
    IS 'Takes back popped tasks whose lease expired between the first two times, some at a time; counts an attempt, unless the lease expired between the other two. For tend.';

-- Lanes of queues that workers use. `bound` is a position that is at least a second old.
CREATE OR REPLACE FUNCTION {{schema}}.move_lane_starts(bound bigint, recheck bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    deadline timestamptz := clock_timestamp() + interval '50 milliseconds';
    queues text[] := ARRAY(SELECT DISTINCT q FROM {{schema}}.worker_sessions AS s, unnest(s.queues) AS q
                           WHERE s.seen_at > now() - interval '10 minutes' LIMIT 1000);
    lane record;
    missed record;
    step bigint := 10000;
    newest bigint;
BEGIN
    IF cardinality(queues) = 0 THEN
        RETURN 0;
    END IF;
    FOR lane IN
        SELECT w.queue, w.handler, w.priority, w.start, w.checked_at, least(coalesce(w.head, bound), bound) AS next
        FROM {{schema}}.worker_lanes(queues, NULL) AS w LIMIT 1000
    LOOP
        -- A new version only if it skips some hundred rows more, or before pop stops using the
        -- old one.
        CONTINUE WHEN lane.next - lane.start < 500 AND lane.checked_at > now() - interval '20 seconds';
        DELETE FROM {{schema}}.lane_starts AS s WHERE (s.queue, s.handler, s.priority) = (lane.queue, lane.handler, lane.priority);
        INSERT INTO {{schema}}.lane_starts VALUES (lane.queue, lane.handler, lane.priority, greatest(lane.start, lane.next), clock_timestamp());
    END LOOP;
    -- Tasks below the start of their lane: their transaction took longer than the bound
    -- allows.
    SELECT max(s.position) INTO newest FROM {{schema}}.lane_starts AS s WHERE s.queue = ANY (queues);
    LOOP
        FOR missed IN
            SELECT s.queue, s.handler, s.priority, r.position
            FROM {{schema}}.lane_starts AS s
            CROSS JOIN LATERAL (
                SELECT t.position FROM {{schema}}.runnable_tasks AS t
                WHERE t.queue = s.queue AND t.handler = s.handler AND t.priority = s.priority
                  AND t.position >= recheck AND t.position < least(recheck + step, s.position)
                ORDER BY t.position LIMIT 1) AS r
            WHERE s.queue = ANY (queues)
        LOOP
            DELETE FROM {{schema}}.lane_starts AS s
            WHERE (s.queue, s.handler, s.priority) = (missed.queue, missed.handler, missed.priority);
            INSERT INTO {{schema}}.lane_starts VALUES (missed.queue, missed.handler, missed.priority, missed.position, clock_timestamp());
        END LOOP;
        recheck := recheck + step;
        step := step * 2;
        IF newest IS NULL OR recheck >= newest THEN
            RETURN 0;
        ELSIF clock_timestamp() >= deadline THEN
            RETURN recheck;
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION {{schema}}.move_lane_starts(bigint, bigint)
    IS 'Moves the positions at which pop starts past removed tasks, and searches below them again for 50 ms. Returns where to continue. For tend.';

CREATE OR REPLACE FUNCTION {{schema}}.tend(most integer DEFAULT 1000)
RETURNS TABLE (promoted bigint, expired bigint, next_due interval, more boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last {{schema}}.upkeep;
    due record;
    taken record;
    looks_at_all boolean;
    is_restart boolean;
    ended_before timestamptz := now();
    crossed bigint[];
    n_expired bigint;
BEGIN
    IF tend.most IS NULL OR tend.most NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'invalid number of tasks: %', coalesce(tend.most::text, 'null') USING ERRCODE = '22023', HINT = 'move 1 to 10000 tasks in one call';
    END IF;
    PERFORM {{schema}}.need_read_committed('tend');
    SELECT u.* INTO last FROM {{schema}}.upkeep AS u FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 0::bigint, 0::bigint, NULL::interval, false;
        RETURN;
    END IF;
    -- The row is locked until this transaction ends: no other tend works until then.
    IF current_setting('idle_in_transaction_session_timeout')::interval NOT BETWEEN interval '1 millisecond' AND interval '5 seconds' THEN
        PERFORM set_config('idle_in_transaction_session_timeout', '5s', true);
    END IF;
    -- Starts after the last promoted task, except for late commits. Sometimes reads all.
    looks_at_all := NOT last.promotes_on AND last.promote_all_at NOT BETWEEN now() AND now() + interval '10 minutes';
    SELECT p.* INTO due FROM {{schema}}.promote(tend.most,
        CASE WHEN looks_at_all THEN '-infinity' WHEN last.promotes_on THEN last.promoted_due
             ELSE least(last.promoted_due, now()) - interval '5 seconds' END,
        CASE WHEN last.promotes_on THEN last.promoted_id ELSE 0 END) AS p;
    IF looks_at_all THEN
        last.promote_all_at := now() + least(interval '5 seconds' + 20 * (clock_timestamp() - now()), interval '5 minutes');
    END IF;
    promoted := due.count;
    next_due := due.next_due;
    last.promotes_on := due.more;
    last.promoted_due := CASE WHEN due.more THEN due.last_due ELSE now() END;
    last.promoted_id := CASE WHEN due.more THEN due.last_id ELSE 0 END;


    -- The very first tend knows nothing about gaps.
    is_restart := last.server_started_at <> pg_postmaster_start_time();
    IF is_restart
        OR last.bound_at BETWEEN '1970-01-01' AND now() - interval '5 seconds' AND last.gap_to NOT BETWEEN now() - interval '15 seconds' AND now()
    THEN
        last.gap_from := last.bound_at;
        last.gap_to := now();
        last.gap_is_restart := is_restart;
    END IF;
    IF last.gap_to BETWEEN now() - interval '15 seconds' AND now() THEN
        ended_before := last.gap_from;
    END IF;
    looks_at_all := last.expired_all_at < now() - interval '1 minute';
    SELECT e.*, e.returned + e.failed + e.cancelled AS n INTO taken
    FROM {{schema}}.expire_popped(CASE WHEN looks_at_all THEN '-infinity' ELSE last.expired_to END, ended_before, tend.most,
        CASE WHEN last.gap_is_restart THEN last.gap_from END, last.gap_to + interval '15 seconds') AS e;
    n_expired := taken.n;
    IF taken.returned > 0 THEN
        PERFORM {{schema}}.wake();
    END IF;
    -- A cancel that crossed with the end of an attempt: the task has left the claim for which
    -- the cancel was requested.
    IF EXISTS (SELECT FROM {{schema}}.cancellations) THEN
        WITH gone AS (
            DELETE FROM {{schema}}.cancellations AS x
            WHERE NOT EXISTS (SELECT FROM {{schema}}.claims AS c WHERE c.id = x.claim_id)
              AND NOT EXISTS (SELECT FROM {{schema}}.popped AS p WHERE p.task_id = x.task_id AND p.claim_id = x.claim_id)
            RETURNING x.task_id)
        SELECT array_agg(g.task_id) INTO crossed FROM gone AS g;
        IF crossed IS NOT NULL THEN
            PERFORM {{schema}}.cancel_tasks(crossed);
        END IF;
    END IF;
    DELETE FROM {{schema}}.worker_sessions AS s
    WHERE (s.name, s.pid) IN (SELECT o.name, o.pid FROM {{schema}}.worker_sessions AS o
                              WHERE o.seen_at < now() - interval '10 minutes' FOR UPDATE SKIP LOCKED);

    last.recheck := {{schema}}.move_lane_starts(last.bound, last.recheck);
    IF last.bound_at NOT BETWEEN now() - interval '1 second' AND now() THEN
        last.bound_at := now();
        SELECT s.last_value INTO last.bound FROM {{schema}}.task_ids AS s;
    END IF;
    -- All of them were taken back, except locked ones.
    IF n_expired = 0 THEN
        last.expired_to := ended_before;
        IF looks_at_all THEN
            last.expired_all_at := now();
        END IF;
    END IF;
    UPDATE {{schema}}.upkeep AS u
    SET bound = last.bound, bound_at = last.bound_at, recheck = last.recheck, expired_to = last.expired_to, expired_all_at = last.expired_all_at,
        server_started_at = pg_postmaster_start_time(), gap_from = last.gap_from, gap_to = last.gap_to, gap_is_restart = last.gap_is_restart,
        promoted_due = last.promoted_due, promoted_id = last.promoted_id, promotes_on = last.promotes_on, promote_all_at = last.promote_all_at;
    RETURN QUERY SELECT promoted, n_expired, next_due, due.more OR taken.more;
END $$;
COMMENT ON FUNCTION {{schema}}.tend(integer)
    IS 'Maintains the queues of workers: makes due tasks runnable and returns tasks with expired leases to the queue, at most this many and 8 MiB of arguments of each. Call it again at once while more is true, otherwise once a second, in a separate transaction, from one worker; runners call it. Returns at once while another session runs it.';
