-- Caller: Store::drain. Reads all runners: there are few. One row.
SELECT {{schema}}.drain($1::text) AS n_runners
