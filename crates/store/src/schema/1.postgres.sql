-- Schema 1. Never changed: see schema.rs.
-- One row: what the whole store is.
CREATE TABLE store_head (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    schema BIGINT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    -- The newest transaction.
    sequence BIGINT NOT NULL DEFAULT 0,
    -- How often it was opened for writing; checked in every transaction.
    fence BIGINT NOT NULL DEFAULT 0,
    holder TEXT COLLATE "C" NOT NULL DEFAULT '',
    -- 0 nothing to learn, 1 restored, 2 the database failed over.
    learn BIGINT NOT NULL DEFAULT 0,
    learn_term BIGINT NOT NULL DEFAULT 0,
    learn_as_of_ms BIGINT NOT NULL DEFAULT 0,
    -- Which line of the server's history; empty for SQLite.
    timeline TEXT COLLATE "C" NOT NULL DEFAULT ''
);
CREATE TABLE store_rows (
    kind TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    body BYTEA NOT NULL,
    -- CRC-32C of all of it; NULL for a row repaired by hand.
    sum BIGINT,
    PRIMARY KEY (kind, key)
);
CREATE TABLE store_events (
    version BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    topic TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    at_ms BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (version, ordinal)
);
CREATE INDEX store_events_age ON store_events (topic, at_ms);
CREATE INDEX store_events_topic ON store_events (topic, version, ordinal);
CREATE INDEX store_events_subject ON store_events (subject, version, ordinal);
CREATE TABLE store_samples (
    series TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    at_ms BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (series, subject, at_ms)
);
CREATE INDEX store_samples_age ON store_samples (series, at_ms);
