-- Caller: store/migrations, after each file of functions: that it was applied.
INSERT INTO {{schema}}.function_files (name, sha256) VALUES ('{{name}}', '{{sha256}}')
ON CONFLICT (name) DO UPDATE SET sha256 = EXCLUDED.sha256, applied_at = now();
