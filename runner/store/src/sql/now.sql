-- Caller: Store::now. One row.
SELECT now() AS now
