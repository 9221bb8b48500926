-- Caller: store/settings, once for each session. Settings that the server does not know are
-- skipped.
SELECT pg_catalog.set_config(s.name, v.value, false)
FROM (VALUES ('statement_timeout', '{{statement_ms}}ms'), {{values}}) AS v (name, value)
JOIN pg_catalog.pg_settings AS s ON pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) pg_catalog.lower(v.name)
