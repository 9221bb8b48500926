-- Caller: Store::register. One row: the new runner's id.
INSERT INTO {{schema}}.runners (name, host, pid, version, slots, queues, expires_at, ticket_hash)
VALUES ($1::text, $2::text, $3::integer, $4::text, $5::integer, $6::text[], now() + $7::float8 * interval '1 second', $8::bytea)
RETURNING id
