-- Schema 1. Never changed: see schema.rs.
PRAGMA application_id = 1179863122;
-- One row: what the whole store is.
CREATE TABLE store_head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    schema INTEGER NOT NULL,
    id TEXT NOT NULL,
    -- The newest transaction.
    sequence INTEGER NOT NULL DEFAULT 0,
    -- How often it was opened for writing; checked in every transaction.
    fence INTEGER NOT NULL DEFAULT 0,
    holder TEXT NOT NULL DEFAULT '',
    -- 0 nothing to learn, 1 restored, 2 the database failed over.
    learn INTEGER NOT NULL DEFAULT 0,
    learn_term INTEGER NOT NULL DEFAULT 0,
    learn_as_of_ms INTEGER NOT NULL DEFAULT 0,
    -- Which line of the server's history; empty for SQLite.
    timeline TEXT NOT NULL DEFAULT ''
);
CREATE TABLE store_rows (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    body BLOB NOT NULL,
    -- CRC-32C of all of it; NULL for a row repaired by hand.
    sum INTEGER,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE TABLE store_events (
    version INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    topic TEXT NOT NULL,
    subject TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (version, ordinal)
) WITHOUT ROWID;
CREATE INDEX store_events_age ON store_events (topic, at_ms);
CREATE INDEX store_events_topic ON store_events (topic, version, ordinal);
CREATE INDEX store_events_subject ON store_events (subject, version, ordinal);
CREATE TABLE store_samples (
    series TEXT NOT NULL,
    subject TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (series, subject, at_ms)
) WITHOUT ROWID;
CREATE INDEX store_samples_age ON store_samples (series, at_ms);
