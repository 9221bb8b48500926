-- Caller: tests. Each setting as SHOW displays it.
SELECT s.name, current_setting(s.name) AS value FROM pg_catalog.pg_settings AS s
