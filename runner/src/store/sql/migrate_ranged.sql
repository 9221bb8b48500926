-- Caller: migrate. A version without a range serves its own programs only.
SELECT m.version, coalesce(s.oldest, m.version) AS serves, m.name, m.sha256, m.applied_at
FROM {{schema}}.migrations AS m
LEFT JOIN {{schema}}.served AS s ON s.version = m.version
ORDER BY m.version
