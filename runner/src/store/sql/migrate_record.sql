-- Caller: store/migrate, behind each migration: that it was applied.
INSERT INTO {{schema}}.migrations (version, name, sha256) VALUES ({{version}}, '{{name}}', '{{sha256}}');
