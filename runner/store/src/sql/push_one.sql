-- Caller: Store::push, for one task without a key and a parent.
SELECT {{schema}}.push($1::text, $2::text, $3::text, $4::integer, $5::float8 * interval '1 second', $6::timestamptz, $7::integer) AS id
