-- Tasks with a damaged value: they are named once and skipped.

-- A damaged row must not stop the others. A session that finds one skips it for ten
-- minutes; after that an operator may have repaired it. The setting contains the time and
-- then the tasks.
CREATE OR REPLACE FUNCTION {{schema}}.unreadable_tasks() RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    noted bigint[] := string_to_array(current_setting('pgtq.unreadable_{{schema_name}}', true), ',');
BEGIN
    RETURN CASE WHEN noted[1] > extract(epoch FROM now()) - 600 THEN noted[2:] ELSE '{}' END;
END $$;
COMMENT ON FUNCTION {{schema}}.unreadable_tasks() IS 'The tasks that this session has found unreadable in the last ten minutes. For promote, pop and tend.';

CREATE OR REPLACE FUNCTION {{schema}}.note_unreadable(task bigint, reason text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known bigint[] := {{schema}}.unreadable_tasks();
BEGIN
    IF task = ANY (known) THEN
        RETURN;
    END IF;
    RAISE WARNING 'task % cannot be read and is left out: %', task, reason
        USING HINT = 'restore its row, or delete it with pgtq.delete_tasks';
    PERFORM set_config('pgtq.unreadable_{{schema_name}}', array_to_string(
        CASE WHEN known = '{}' THEN extract(epoch FROM now())::bigint
             ELSE split_part(current_setting('pgtq.unreadable_{{schema_name}}'), ',', 1)::bigint END || known || task, ','), false);
END $$;
COMMENT ON FUNCTION {{schema}}.note_unreadable(bigint, text) IS 'Names a task that cannot be read, once per session and ten minutes. For stored_bytes and client_bytes.';

CREATE OR REPLACE FUNCTION {{schema}}.stored_bytes(task bigint, args json, traits jsonb, key text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM args::text, traits::text, hashtext(key);
    RETURN pg_column_size(args);
EXCEPTION WHEN data_corrupted OR index_corrupted OR character_not_in_repertoire OR untranslatable_character THEN
    PERFORM {{schema}}.note_unreadable(task, SQLERRM);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION {{schema}}.stored_bytes(bigint, json, jsonb, text)
    IS 'The stored size of the arguments in bytes; null: a value of the task cannot be read. For promote and tend.';

CREATE OR REPLACE FUNCTION {{schema}}.client_bytes(task bigint, args json, traits jsonb, key text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM traits::text, hashtext(key);
    -- Like the server when it sends them.
    IF pg_client_encoding() <> getdatabaseencoding() AND pg_client_encoding() <> 'SQL_ASCII' THEN
        PERFORM convert_to(args::text, pg_client_encoding()), convert_to(key, pg_client_encoding());
    END IF;
    RETURN octet_length(args::text);
EXCEPTION WHEN data_corrupted OR index_corrupted OR character_not_in_repertoire OR untranslatable_character THEN
    PERFORM {{schema}}.note_unreadable(task, SQLERRM);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION {{schema}}.client_bytes(bigint, json, jsonb, text)
    IS 'The size of the arguments in bytes; null: the server cannot read a value of the task, or send it to this client. For pop.';
