-- Caller: AttemptDatabase::save, on the handler's own connection, within its transaction. No
-- casts: the handler may have set the search path, and the types of the parameters are given by
-- OID.
SELECT {{schema}}.save_in_task($1, $2, $3, $4, $5, $6) AS held
