-- What jobs left for later runs of them. The files are archives in the data directory, named by the id: a row
-- without its file is no cache.
CREATE TABLE caches (
    app      TEXT    NOT NULL REFERENCES apps (name),
    id       TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    kind     TEXT    NOT NULL,
    content  TEXT,
    scope    TEXT    NOT NULL,
    run      INTEGER NOT NULL,
    files    INTEGER NOT NULL,
    bytes    INTEGER NOT NULL,
    made_at  TEXT    NOT NULL,
    used_at  TEXT    NOT NULL,
    PRIMARY KEY (app, id)
) STRICT;
