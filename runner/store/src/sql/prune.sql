-- Caller: Store::prune, again while there is more.
SELECT p.created, p.dropped, p.deleted, p.more, p.skipped
FROM {{schema}}.prune($1::float8 * interval '1 second', failed => $2::float8 * interval '1 second') AS p
