-- Caller: Lanes::refresh. Reads the whole table, which holds what is paused now.
SELECT kind, name::text AS name, paused_at FROM {{schema}}.pauses
