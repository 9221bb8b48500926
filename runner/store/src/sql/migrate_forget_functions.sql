-- Caller: store/migrations, after the files of functions: those that are no longer there.
DELETE FROM {{schema}}.function_files AS f WHERE f.name NOT IN ({{names}});
