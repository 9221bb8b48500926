SELECT coalesce(max(id), 0) AS id, coalesce(max(claim_id), 0) AS claim FROM pgtq.pop('bench') \gset
SELECT pgtq.complete(:id, :claim, '{"ok": true}'::json);
