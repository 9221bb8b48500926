-- Caller: Store::demand.
SELECT {{schema}}.demand(cap => $1::integer) AS demand
