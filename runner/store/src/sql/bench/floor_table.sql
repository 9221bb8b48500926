-- Caller: Store::floor_create. The least that a queue in Postgres can be: no
-- handlers, retries, leases or recovery. What no queue can beat.
CREATE TABLE {{schema}}.floor_jobs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state smallint NOT NULL DEFAULT 0,
    args json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    claimed_at timestamptz
)
