-- The first schema. Times are RFC 3339 text, documents are JSON text, digests are hexadecimal text.

PRAGMA application_id = 1416591216; -- "Towp"

CREATE TABLE apps (
    name         TEXT    NOT NULL PRIMARY KEY,
    last_release INTEGER NOT NULL DEFAULT 0,
    created_at   TEXT    NOT NULL
) STRICT;

CREATE TABLE sources (
    digest     TEXT    NOT NULL PRIMARY KEY,
    size       INTEGER NOT NULL,
    created_at TEXT    NOT NULL
) STRICT;

CREATE TABLE releases (
    app         TEXT    NOT NULL REFERENCES apps (name),
    number      INTEGER NOT NULL,
    source      TEXT,
    commit_hash TEXT,
    message     TEXT,
    created_at  TEXT    NOT NULL,
    created_by  TEXT    NOT NULL,
    PRIMARY KEY (app, number)
) STRICT;

CREATE TABLE renderings (
    app         TEXT    NOT NULL,
    environment TEXT    NOT NULL,
    release     INTEGER NOT NULL,
    digest      TEXT    NOT NULL,
    document    TEXT    NOT NULL,
    PRIMARY KEY (app, environment, release),
    FOREIGN KEY (app, release) REFERENCES releases (app, number) ON DELETE CASCADE
) STRICT;

CREATE INDEX renderings_by_release ON renderings (app, release);

-- Which versions of which secrets a rendering needs: they are kept as long as it is.
CREATE TABLE pins (
    app         TEXT    NOT NULL,
    environment TEXT    NOT NULL,
    release     INTEGER NOT NULL,
    secret      TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    PRIMARY KEY (app, environment, release, secret),
    FOREIGN KEY (app, environment, release)
        REFERENCES renderings (app, environment, release) ON DELETE CASCADE
) STRICT;

CREATE INDEX pins_by_secret ON pins (app, environment, secret, version);

CREATE TABLE environments (
    app        TEXT    NOT NULL REFERENCES apps (name),
    name       TEXT    NOT NULL,
    engine     TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    created_at TEXT    NOT NULL,
    document   TEXT    NOT NULL,
    PRIMARY KEY (app, name)
) STRICT;

CREATE TABLE deployments (
    app         TEXT    NOT NULL,
    environment TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    release     INTEGER NOT NULL,
    kind        TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    started_at  TEXT    NOT NULL,
    finished_at TEXT,
    document    TEXT    NOT NULL,
    PRIMARY KEY (app, environment, number),
    FOREIGN KEY (app, environment) REFERENCES environments (app, name) ON DELETE CASCADE
) STRICT;

CREATE TABLE events (
    sequence    INTEGER NOT NULL PRIMARY KEY,
    at          TEXT    NOT NULL,
    actor       TEXT    NOT NULL,
    environment TEXT,
    what        TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    before      TEXT,
    after       TEXT,
    reason      TEXT,
    data        TEXT,
    hash        TEXT    NOT NULL
) STRICT;

CREATE INDEX events_by_environment ON events (environment, sequence);

CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are append-only');
END;

CREATE TRIGGER events_are_not_removed BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are append-only');
END;

-- How many events there are and the hash of the last one, so that a cut tail is noticed.
CREATE TABLE event_head (
    id    INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    count INTEGER NOT NULL,
    hash  TEXT    NOT NULL,
    seal  BLOB    NOT NULL
) STRICT;

-- A known text sealed with the master key: tells a wrong key at the start.
CREATE TABLE master_key (
    id   INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    seal BLOB    NOT NULL
) STRICT;

-- The data key of each app, sealed with the master key.
CREATE TABLE data_keys (
    app    TEXT NOT NULL PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT;

CREATE TABLE secrets (
    app          TEXT    NOT NULL,
    environment  TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    last_version INTEGER NOT NULL,
    removed_at   TEXT,
    PRIMARY KEY (app, environment, name)
) STRICT;

-- `sealed` is null when the value was wiped.
CREATE TABLE secret_versions (
    app         TEXT    NOT NULL,
    environment TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    sealed      BLOB,
    created_at  TEXT    NOT NULL,
    created_by  TEXT    NOT NULL,
    PRIMARY KEY (app, environment, name, version),
    FOREIGN KEY (app, environment, name)
        REFERENCES secrets (app, environment, name) ON DELETE CASCADE
) STRICT;

CREATE TABLE ports (
    port        INTEGER NOT NULL PRIMARY KEY,
    app         TEXT    NOT NULL,
    environment TEXT    NOT NULL,
    service     TEXT    NOT NULL,
    UNIQUE (app, environment, service)
) STRICT;

CREATE TABLE tokens (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,
    digest     TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    created_by TEXT NOT NULL,
    revoked_at TEXT
) STRICT;
