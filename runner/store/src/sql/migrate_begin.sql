-- First in the transaction of Store::migrate. Runners that start at the same time take turns.
-- Any session can take an advisory lock and keep it, so only the first migration uses
-- one; later ones lock a table. The mode conflicts with itself, and no statement that
-- fails for lack of privileges takes it: Postgres locks tables before it checks privileges.
DO $$ BEGIN
    IF to_regclass('{{schema}}.migrations') IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('pgtq migrate {{schema}}', 0));
    END IF;
END $$;
-- IF NOT EXISTS would ask the owner of a schema for the right to make others.
DO $$ BEGIN
    IF to_regnamespace('{{schema}}') IS NULL THEN
        CREATE SCHEMA {{schema}};
    END IF;
END $$;
COMMENT ON SCHEMA {{schema}} IS 'pgtq: a task queue. Push with push(handler, args); read the views scheduled, runnable, running, complete, failed, cancelled.';
CREATE TABLE IF NOT EXISTS {{schema}}.migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    serves integer NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT serves_range CHECK (serves <= version)
);
COMMENT ON TABLE {{schema}}.migrations IS 'Which versions of the schema were applied when, the digest of their text, and the oldest version whose programs each serves.';
CREATE TABLE IF NOT EXISTS {{schema}}.function_files (
    name text PRIMARY KEY,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE {{schema}}.function_files IS 'Which files of functions and views were applied when, and the digest of their text.';
LOCK TABLE {{schema}}.migrations IN SHARE UPDATE EXCLUSIVE MODE;
-- The limit of every wait for a table from here on, because pushes would queue behind this
-- migration. The locks above delay only other migrations.
SET LOCAL lock_timeout = '500ms';
