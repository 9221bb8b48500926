-- Caller: store/attempt, behind a pooler: what others left prepared on the server's connection.
DEALLOCATE ALL
