-- Caller: tests. Each setting as SHOW tells it.
SELECT s.name, current_setting(s.name) AS value FROM pg_catalog.pg_settings AS s
