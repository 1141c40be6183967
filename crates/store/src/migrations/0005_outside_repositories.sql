-- What is set up for the repository of an app, and the secrets that go with it, sealed.
CREATE TABLE repositories (
    app        TEXT NOT NULL PRIMARY KEY REFERENCES apps (name) ON DELETE CASCADE,
    document   TEXT NOT NULL,
    changed_at TEXT NOT NULL
) STRICT;

CREATE TABLE repository_secrets (
    app    TEXT NOT NULL REFERENCES apps (name) ON DELETE CASCADE,
    name   TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (app, name)
) STRICT;

-- The webhooks that were taken, so that none is taken twice.
CREATE TABLE webhook_deliveries (
    sequence    INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    app         TEXT NOT NULL REFERENCES apps (name) ON DELETE CASCADE,
    delivery    TEXT NOT NULL,
    received_at TEXT NOT NULL,
    UNIQUE (app, delivery)
) STRICT;
