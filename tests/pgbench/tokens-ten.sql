SELECT array_agg(id) AS ids, array_agg(token) AS tokens FROM pgtq.pop('bench', n => 10) \gset
SELECT count(*) FROM pgtq.complete_many(:ids::bigint[], :tokens::uuid[]);
