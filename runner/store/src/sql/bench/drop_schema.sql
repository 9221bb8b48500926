-- Caller: Store::bench_drop. Only ever a schema that the benchmark made.
DROP SCHEMA IF EXISTS {{schema}} CASCADE
