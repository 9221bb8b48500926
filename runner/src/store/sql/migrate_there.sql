-- Caller: migrate. One row. ranged: versions say which programs they serve.
SELECT to_regclass('{{schema}}.migrations') IS NOT NULL AS there, to_regclass('{{schema}}.served') IS NOT NULL AS ranged
