-- Caller: migrate. One row.
SELECT to_regclass('{{schema}}.migrations') IS NOT NULL AS there
