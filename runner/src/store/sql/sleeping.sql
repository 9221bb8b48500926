-- Caller: Store::sleeping. Index: runners_pkey.
UPDATE {{schema}}.runners SET sleeping = $2::boolean WHERE id = $1::bigint AND sleeping <> $2
