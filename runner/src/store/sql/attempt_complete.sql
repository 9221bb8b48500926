-- Caller: AttemptDatabase::complete, on the handler's own connection, after
-- attempt_settle. The columns of one ending, as finish_final takes them for many.
SELECT {{schema}}.complete_in_task(
    $30::bytea, $1::bigint, ($2::bigint[])[1], ($3::bigint[])[1],
    ($5::text[])[1], ($6::text[])[1], ($7::integer[])[1], ($8::text[])[1], ($9::text[])[1], ($15::text[])[1], ($16::bigint[])[1],
    ($17::integer[])[1], ($18::integer[])[1], ($19::integer[])[1], ($20::timestamptz[])[1], ($21::timestamptz[])[1],
    ($22::float8[])[1], ($23::float8[])[1], ($24::bigint[])[1], ($25::bigint[])[1], ($26::bigint[])[1], ($27::bytea[])[1],
    ($28::text[])[1], ($29::bigint[])[1],
    $31::text[], $32::text[], $33::text[], $34::integer[], $35::float8[], $36::timestamptz[], $37::integer[], $38::text[])
    AS held
