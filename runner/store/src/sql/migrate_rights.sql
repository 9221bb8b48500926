-- Caller: store/migrations, after the files of functions: new objects get the privileges of
-- the roles that grant_role created, and no others.
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {{schema}} FROM PUBLIC;
SELECT {{schema}}.apply_rights();
