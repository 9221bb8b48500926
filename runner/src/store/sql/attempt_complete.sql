-- Caller: AttemptDatabase::complete, on the handler's own connection, after
-- attempt_settle. The columns of one ending, from the arrays that finish has for many.
SELECT {{schema}}.complete_in_task(
    $24::bytea, $1::bigint, ($2::bigint[])[1], ($3::bigint[])[1],
    ($4::text[])[1], ($5::text[])[1], ($6::integer[])[1], ($7::text[])[1], ($8::text[])[1], ($9::text[])[1], ($10::bigint[])[1],
    ($11::integer[])[1], ($12::integer[])[1], ($13::integer[])[1], ($14::timestamptz[])[1], ($15::timestamptz[])[1],
    ($16::float8[])[1], ($17::float8[])[1], ($18::bigint[])[1], ($19::bigint[])[1], ($20::bigint[])[1], ($21::bytea[])[1],
    ($22::text[])[1], ($23::bigint[])[1],
    $25::text[], $26::text[], $27::text[], $28::integer[], $29::float8[], $30::timestamptz[], $31::integer[], $32::text[], $33::text[])
    AS held
