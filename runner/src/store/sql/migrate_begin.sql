-- First in the transaction of Store::migrate. The lock makes runners that
-- start at once take turns; nothing else depends on it.
SELECT pg_advisory_xact_lock(hashtextextended('pgtq migrate {{schema}}', 0));
CREATE SCHEMA IF NOT EXISTS {{schema}};
COMMENT ON SCHEMA {{schema}} IS 'pgtq: a task queue. Push with push(handler, args); read the views scheduled, runnable, running, complete, failed, cancelled.';
CREATE TABLE IF NOT EXISTS {{schema}}.migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE {{schema}}.migrations IS 'Which versions of the schema were applied when, and the digest of their text.';
