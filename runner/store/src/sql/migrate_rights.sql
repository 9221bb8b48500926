-- Caller: store/migrations, after the files of functions: what is new belongs to nobody, and
-- then to the roles that grant_role knows.
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {{schema}} FROM PUBLIC;
SELECT {{schema}}.apply_rights();
