-- Caller: Store::push, for tasks of applications. One row for each task, in order.
SELECT p.id, p.existed
FROM {{schema}}.push_arrays(
    $1::text[], $2::text[], $3::text[], $4::integer[],
    ARRAY(SELECT unnest($5::float8[]) * interval '1 second'),
    $6::timestamptz[], $7::integer[], $8::text[]) AS p
