-- Functions for applications: look up a task by its key, and change tasks that wait.

CREATE FUNCTION {{schema}}.result(id bigint) RETURNS json
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT h.result FROM {{schema}}.history AS h WHERE h.id = result.id AND h.state = 'complete'
$$;
COMMENT ON FUNCTION {{schema}}.result(bigint) IS 'The result of a complete task; null when it is not complete.';
