-- Caller: Store::promote.
SELECT p.count, extract(epoch FROM p.next_due)::float8 AS next_due FROM {{schema}}.promote($1::integer) AS p
