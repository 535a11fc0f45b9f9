-- Times are ISO 8601 in UTC with microseconds, so that they sort as text.
-- JSON columns hold what is only ever read whole.

CREATE TABLE ingestions (
    created_order           INTEGER PRIMARY KEY AUTOINCREMENT,
    id                      TEXT NOT NULL UNIQUE,
    file_id                 TEXT NOT NULL,
    version                 TEXT NOT NULL,

    -- what was asked for
    file_path               TEXT NOT NULL,
    file_type               TEXT NOT NULL,
    callback_url            TEXT NOT NULL,
    chunk_records_max       INTEGER NOT NULL,
    chunk_bytes_max         INTEGER NOT NULL,
    options                 TEXT NOT NULL,
    metadata                TEXT NOT NULL,
    fingerprint_size        INTEGER NOT NULL,
    fingerprint_modified_ns INTEGER NOT NULL,
    fingerprint_sample      TEXT NOT NULL,

    -- where it stands
    state                   TEXT NOT NULL,
    failure                 TEXT,
    detection               TEXT NOT NULL DEFAULT '{}',
    records_read            INTEGER,
    cancel_requested        INTEGER NOT NULL DEFAULT 0,
    reader_deaths           INTEGER NOT NULL DEFAULT 0,

    -- progress: moves only with an ACK (invariant 1)
    next_chunk              INTEGER NOT NULL DEFAULT 0,
    next_chunk_max          INTEGER NOT NULL DEFAULT 0, -- before any rewind
    records_delivered       INTEGER NOT NULL DEFAULT 0,
    records_filtered        INTEGER NOT NULL DEFAULT 0,
    records_dead_lettered   INTEGER NOT NULL DEFAULT 0,
    records_rejected        INTEGER NOT NULL DEFAULT 0,
    position                INTEGER NOT NULL DEFAULT 0,
    unsafe_numbers          INTEGER NOT NULL DEFAULT 0,
    chain                   TEXT NOT NULL,
    rewinds                 INTEGER NOT NULL DEFAULT 0,

    -- who may move it (invariant 9)
    lease_owner             TEXT,
    lease_epoch             INTEGER NOT NULL DEFAULT 0,

    created_at              TEXT NOT NULL,
    updated_at              TEXT NOT NULL,
    started_at              TEXT,
    acked_at                TEXT,
    waiting_since           TEXT,
    finished_at             TEXT,

    UNIQUE (file_id, version)
) STRICT;

CREATE INDEX ingestions_by_file ON ingestions (file_id, created_order);

CREATE INDEX ingestions_live ON ingestions (created_order)
    WHERE state IN ('QUEUED', 'RUNNING', 'WAITING', 'COMPLETING');

-- Every chunk that was cut. Acknowledged up to ingestions.next_chunk, planned from there on.
CREATE TABLE chunks (
    ingestion_id    TEXT NOT NULL REFERENCES ingestions (id),
    number          INTEGER NOT NULL,
    revision        INTEGER NOT NULL,
    record_start    INTEGER NOT NULL,
    record_end      INTEGER NOT NULL CHECK (record_end > record_start),
    start_offset    INTEGER NOT NULL,
    start_skip      INTEGER NOT NULL,
    start_line      INTEGER NOT NULL,
    start_context   TEXT NOT NULL,
    end_offset      INTEGER NOT NULL,
    end_skip        INTEGER NOT NULL,
    end_line        INTEGER NOT NULL,
    end_context     TEXT NOT NULL,
    position        INTEGER NOT NULL,
    checksum        TEXT NOT NULL,
    chain           TEXT NOT NULL,
    records_bytes   INTEGER NOT NULL,
    unsafe_numbers  INTEGER NOT NULL,
    rejected        INTEGER NOT NULL DEFAULT 0,
    staged_at       TEXT NOT NULL,
    acked_at        TEXT,
    PRIMARY KEY (ingestion_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
    key             TEXT PRIMARY KEY,
    digest          TEXT NOT NULL,
    ingestion_id    TEXT NOT NULL REFERENCES ingestions (id),
    status          TEXT NOT NULL,
    created_at      TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Service processes. Alive: its lock file is locked, and alive_until is not over.
CREATE TABLE workers (
    id              TEXT PRIMARY KEY,
    boot_id         TEXT NOT NULL,
    alive_until     REAL NOT NULL -- seconds since boot
) STRICT, WITHOUT ROWID;
