-- Caller: store/attempt, behind a pooler: removes statements that other clients prepared on the
-- server connection.
DEALLOCATE ALL
