-- Times are milliseconds since 1970 UTC. Repository ids are GitHub's, as signed numbers.

CREATE TABLE messages (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of publication
    work         INTEGER NOT NULL,                  -- 0 plan, 1 steps
    repo         INTEGER NOT NULL,
    id           TEXT,                              -- the envelope's, where it can be read; not unique
    state        INTEGER NOT NULL DEFAULT 0,        -- 0 ready, 1 delayed, 2 in flight, 3 parked
    due_at       INTEGER NOT NULL DEFAULT 0,        -- delayed: when it is due; in flight: when it comes back; parked: since when
    published_at INTEGER NOT NULL,
    failed       INTEGER NOT NULL DEFAULT 0,        -- attempts that a worker said had failed
    lost         INTEGER NOT NULL DEFAULT 0,        -- attempts that ended without a word
    receipt      INTEGER NOT NULL DEFAULT 0,        -- goes up with each hand-out; only the newest may settle
    unreadable   INTEGER NOT NULL DEFAULT 0,        -- 1: parked because this version could not read it
    reason       TEXT,                              -- why it last failed
    envelope     BLOB NOT NULL
) STRICT;

CREATE INDEX messages_next ON messages (work, state, repo, seq);
CREATE INDEX messages_id ON messages (id, repo);
CREATE INDEX messages_due ON messages (state, due_at);

CREATE TABLE journal (
    place       INTEGER PRIMARY KEY AUTOINCREMENT,
    recorded_at INTEGER NOT NULL,
    bytes_up_to INTEGER NOT NULL,                   -- the sizes of all records ever up to this one
    envelope    BLOB NOT NULL
) STRICT;

CREATE TABLE leases (
    repo     INTEGER PRIMARY KEY,
    fence    INTEGER NOT NULL,                      -- goes up with each grant
    deadline INTEGER NOT NULL                       -- 0: nobody holds it
) STRICT;
