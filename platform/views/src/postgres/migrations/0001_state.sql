-- What no view owns. Nothing of it is the truth: whatever is lost is read from the log again.

-- The definition that each view's schema was made for.
CREATE TABLE views (
    name text COLLATE "C" PRIMARY KEY,
    definition text NOT NULL
);

-- How far each consumer has come.
CREATE TABLE checkpoints (
    name text COLLATE "C" PRIMARY KEY,
    json json NOT NULL
);

-- The folds of long streams.
CREATE TABLE snapshots (
    stream text COLLATE "C" PRIMARY KEY,
    log uuid NOT NULL,
    revision bigint NOT NULL,
    position text NOT NULL,
    event_id uuid NOT NULL,
    state bytea NOT NULL
);
