-- Caller: Store::floor_insert. One for each of the arguments.
INSERT INTO {{schema}}.floor_jobs (args) SELECT unnest($1::text[])::json
