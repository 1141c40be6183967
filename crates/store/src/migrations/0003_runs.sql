-- Runs of pipelines, each one document with a version. A number is never used twice.
ALTER TABLE apps ADD COLUMN last_run INTEGER NOT NULL DEFAULT 0;

CREATE TABLE runs (
    app         TEXT    NOT NULL REFERENCES apps (name),
    number      INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    created_at  TEXT    NOT NULL,
    -- Whether something is still to be done for it: such runs are taken up again at a start.
    unsettled   INTEGER NOT NULL CHECK (unsettled IN (0, 1)),
    document    TEXT    NOT NULL,
    PRIMARY KEY (app, number)
) STRICT;

CREATE INDEX unsettled_runs ON runs (app, number) WHERE unsettled = 1;
