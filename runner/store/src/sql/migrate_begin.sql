-- First in the transaction of Store::migrate. Runners that start at once take turns.
-- Anybody may take an advisory lock and keep it, so only the first of all migrations
-- needs one; later ones have a table to lock. In the one mode that keeps others of
-- its kind out, and that nobody gets by naming the table in a statement which he has
-- no right to run: such a lock is taken before the rights are looked at.
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
-- From here on no table is waited for longer than this: all who push would wait
-- behind us. Turns are taken above, where nobody but a migration waits.
SET LOCAL lock_timeout = '500ms';
