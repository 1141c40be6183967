-- How far the audit trail was made into messages, and what is remembered for the next ones. What happened
-- before there were messages is nobody told of.
CREATE TABLE notify_progress (
    id       INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    sequence INTEGER NOT NULL,
    state    TEXT    NOT NULL
) STRICT;

INSERT INTO notify_progress (id, sequence, state) SELECT 1, coalesce(max(sequence), 0), '{}' FROM events;

-- Messages that have not arrived yet. Those of a lane are sent in the order of their ids, which are
-- never used twice.
CREATE TABLE outbox (
    id         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    lane       TEXT    NOT NULL,
    document   TEXT    NOT NULL,
    created_at TEXT    NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    next_at    TEXT    NOT NULL
) STRICT;

CREATE INDEX outbox_by_lane ON outbox (lane, id);
