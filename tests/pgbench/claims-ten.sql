SELECT array_agg(id) AS ids, coalesce(max(claim_id), 0) AS claim FROM pgtq.pop('bench', n => 10) \gset
SELECT count(pgtq.complete(i, :claim)) FROM unnest(:ids::bigint[]) AS i;
