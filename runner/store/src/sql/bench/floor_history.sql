-- Caller: Store::floor_create. Ended ones.
CREATE TABLE {{schema}}.floor_history (id bigint, args json, created_at timestamptz, done_at timestamptz)
