-- Caller: store/migrate, behind each migration from 8 on: which programs it serves.
INSERT INTO {{schema}}.served (version, oldest) VALUES ({{version}}, {{serves}});
