SELECT coalesce(max(id), 0) AS id, coalesce(max(token::text), '00000000-0000-0000-0000-000000000000') AS token FROM pgtq.pop('bench') \gset
SELECT pgtq.complete(:id, :token::uuid, '{"ok": true}'::json);
