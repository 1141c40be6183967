-- What was last taken in of the Git repository of an app: the commit of each branch and tag.
CREATE TABLE repository_references (
    app       TEXT NOT NULL REFERENCES apps (name) ON DELETE CASCADE,
    name      TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    taken_at  TEXT NOT NULL,
    PRIMARY KEY (app, name)
) STRICT;

-- The source tree that each commit was found to have, so that none is taken apart twice.
CREATE TABLE commit_sources (
    app       TEXT NOT NULL REFERENCES apps (name) ON DELETE CASCADE,
    commit_id TEXT NOT NULL,
    source    TEXT NOT NULL,
    PRIMARY KEY (app, commit_id)
) STRICT;
