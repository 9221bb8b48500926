-- Notifications: from a push to a waiting runner or worker, and from an operator to all
-- runners.

CREATE OR REPLACE FUNCTION {{schema}}.wake(queues text[] DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wake_flags CONSTANT regclass[] := ARRAY[
        '{{schema}}.wake_0'::regclass, '{{schema}}.wake_1'::regclass, '{{schema}}.wake_2'::regclass, '{{schema}}.wake_3'::regclass,
        '{{schema}}.wake_4'::regclass, '{{schema}}.wake_5'::regclass, '{{schema}}.wake_6'::regclass, '{{schema}}.wake_7'::regclass,
        '{{schema}}.wake_8'::regclass, '{{schema}}.wake_9'::regclass, '{{schema}}.wake_10'::regclass, '{{schema}}.wake_11'::regclass,
        '{{schema}}.wake_12'::regclass, '{{schema}}.wake_13'::regclass, '{{schema}}.wake_14'::regclass, '{{schema}}.wake_15'::regclass];
    flags integer[];
    flag integer;
BEGIN
    IF cardinality(queues) = 1 THEN
        flags := ARRAY[hashtext(queues[1]) & 15];
    ELSIF queues IS NULL THEN
        flags := ARRAY(SELECT generate_series(0, 15));
    ELSE
        flags := ARRAY(SELECT DISTINCT hashtext(q) & 15 FROM unnest(queues) AS q);
    END IF;
    FOREACH flag IN ARRAY flags LOOP
        -- A commit that notifies takes a lock of the whole server, so only the first push that
        -- sees a set flag notifies.
        IF pg_sequence_last_value(wake_flags[flag + 1]) % 1024 = 0
            AND current_setting('pgtq.notify', true) IN ('off', 'false', 'no', '0') IS NOT TRUE
            AND nextval(wake_flags[flag + 1]) % 1024 = 1
        THEN
            -- With the queues, if they are few: a runner reads these before it sweeps all lanes.
            PERFORM pg_notify('{{channel}}', concat_ws(' ', 'work', flag, (
                SELECT string_agg(DISTINCT q, ' ') FROM unnest(queues) AS q
                WHERE hashtext(q) & 15 = flag
                HAVING count(DISTINCT q) <= 16)));
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION {{schema}}.wake(text[])
    IS 'Notifies runners and workers that wait for tasks of these queues (null: any queue). Does nothing after SET LOCAL pgtq.notify = off.';

-- Writes only flags that are not set, so that waiting costs no WAL while nothing is
-- pushed.
CREATE OR REPLACE FUNCTION {{schema}}.request_wake(queue text DEFAULT NULL) RETURNS TABLE (flag integer, fresh boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    flag_sequence regclass;
    value bigint;
    one integer;
BEGIN
    flag := hashtext(request_wake.queue) & 15;
    fresh := false;
    FOR one IN coalesce(flag, 0) .. coalesce(flag, 15) LOOP
        flag_sequence := '{{schema}}.wake_' || one;
        value := coalesce(pg_sequence_last_value(flag_sequence), 1);
        IF value % 1024 <> 0 THEN
            PERFORM setval(flag_sequence, (value / 1024 + 1) * 1024);
            fresh := true;
        END IF;
    END LOOP;
    RETURN NEXT;
END $$;
COMMENT ON FUNCTION {{schema}}.request_wake(text)
    IS 'Requests that the next push to this queue (null: any queue) sends the notification ''work <flag> <queues>'' (without queues if they are many) on the channel {{channel}}. fresh: the request is new; look for tasks once more before waiting.';

CREATE OR REPLACE FUNCTION {{schema}}.notify_runners() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('pgtq.notify', true) IN ('off', 'false', 'no', '0') IS NOT TRUE THEN
        PERFORM pg_notify('{{channel}}', 'cancel');
    END IF;
END $$;
COMMENT ON FUNCTION {{schema}}.notify_runners() IS 'Makes runners send a heartbeat now, which returns cancellations to them. Does nothing after SET LOCAL pgtq.notify = off. For cancel and drain.';
