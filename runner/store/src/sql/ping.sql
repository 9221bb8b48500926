-- Caller: Store::ping. Reads nothing: does the server answer?
SELECT 1
