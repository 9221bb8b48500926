-- Caller: Lanes::refresh. Reads the whole table, which contains only current pauses.
SELECT kind, name::text AS name, paused_at FROM {{schema}}.pauses
