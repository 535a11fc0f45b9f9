-- Records that an ACK refused by name, as they were sent. Written with the ACK, and replaced with
-- it when the chunk is sent again: those of chunks from ingestions.next_chunk on do not count.

CREATE TABLE dead_letters (
    ingestion_id    TEXT NOT NULL REFERENCES ingestions (id),
    record          INTEGER NOT NULL,
    chunk_number    INTEGER NOT NULL,
    content         BLOB NOT NULL,
    code            TEXT NOT NULL,
    message         TEXT NOT NULL,
    path            TEXT NOT NULL,
    retryable       INTEGER NOT NULL,
    PRIMARY KEY (ingestion_id, record)
) STRICT;
