-- Environments that are to be removed. The row is written before anything is stopped, and goes with the
-- environment: whoever finds it carries the removal to its end.
CREATE TABLE destructions (
    app          TEXT NOT NULL,
    environment  TEXT NOT NULL,
    volumes      TEXT NOT NULL CHECK (volumes IN ('keep', 'delete')),
    actor        TEXT NOT NULL,
    requested_at TEXT NOT NULL,
    PRIMARY KEY (app, environment),
    FOREIGN KEY (app, environment) REFERENCES environments (app, name) ON DELETE CASCADE
) STRICT;
