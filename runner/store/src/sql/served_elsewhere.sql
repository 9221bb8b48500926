-- Caller: Store::push_look. The handlers of $2 that this runner ($1) serves from the files $3
-- with the digests $4 and that another live runner serves from another file.
SELECT DISTINCT m.name
FROM unnest($2::text[], $3::text[], $4::bytea[]) AS m (name, file, digest)
JOIN {{schema}}.handlers AS h ON h.name = m.name AND h.file <> m.file AND h.digest <> m.digest
JOIN {{schema}}.runners AS r ON r.id = h.runner_id AND r.expires_at >= now()
WHERE h.runner_id <> $1::bigint
