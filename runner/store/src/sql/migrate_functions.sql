-- Caller: migrate. Which files of functions and views were applied.
SELECT name, sha256, applied_at FROM {{schema}}.function_files ORDER BY name
