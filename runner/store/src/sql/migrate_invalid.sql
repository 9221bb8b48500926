-- Caller: store/migrate_outside. A row: the index was left invalid by a run that was killed.
SELECT FROM pg_index AS i WHERE i.indexrelid = to_regclass(format('{{schema}}.%I', $1::text)) AND NOT i.indisvalid
