-- Caller: Store::push_task. One row.
SELECT p.id, p.outcome
FROM {{schema}}.push_task($1::text, $2::text, $3::text, $4::integer, $5::float8 * interval '1 second', $6::timestamptz, $7::integer, $8::text, $9::text,
                         $10::float8 * interval '1 second') AS p
