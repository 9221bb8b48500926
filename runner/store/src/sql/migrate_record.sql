-- Caller: store/migrations, after each migration: that it was applied.
INSERT INTO {{schema}}.migrations (version, name, sha256, serves) VALUES ({{version}}, '{{name}}', '{{sha256}}', {{serves}});
