-- What forges are to be told of commits: in each matter of a commit the latest only. A row is told when the
-- forge has its revision. Revisions of an app grow, so the order of rows is that of what happened.
CREATE TABLE commit_statuses (
    app        TEXT    NOT NULL REFERENCES apps (name),
    commit_id  TEXT    NOT NULL,
    context    TEXT    NOT NULL,
    run        INTEGER NOT NULL,
    document   TEXT    NOT NULL,
    revision   INTEGER NOT NULL,
    told       INTEGER NOT NULL DEFAULT 0,
    changed_at TEXT    NOT NULL,
    PRIMARY KEY (app, commit_id, context)
) STRICT;

CREATE INDEX commit_statuses_by_revision ON commit_statuses (app, revision);

-- How it goes with the forge of an app, where something is to be remembered.
CREATE TABLE forge_lanes (
    app      TEXT    NOT NULL PRIMARY KEY REFERENCES apps (name),
    attempts INTEGER NOT NULL,
    next_at  TEXT,
    fault    TEXT
) STRICT;
