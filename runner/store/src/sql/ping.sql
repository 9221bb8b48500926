-- Caller: Store::ping. Reads no table.
SELECT 1
