-- The layout of schema version 1, where migrations begin.
CREATE TABLE groups (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    job TEXT NOT NULL,
    shape TEXT,
    series BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    pushed_at REAL NOT NULL,
    failed_at REAL NOT NULL,
    failure_reason TEXT NOT NULL
);
CREATE INDEX groups_by_shape ON groups (job, shape) WHERE shape IS NOT NULL;
CREATE TABLE headers (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    type INTEGER NOT NULL,
    help TEXT NOT NULL,
    unit TEXT NOT NULL,
    UNIQUE (name, type, help, unit)
);
CREATE TABLE families (
    group_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    header INTEGER NOT NULL,
    suspect INTEGER NOT NULL,
    pushed_at REAL NOT NULL,
    typed_at REAL NOT NULL,
    large INTEGER,
    hashes BLOB,
    text BLOB,
    metrics BLOB,
    PRIMARY KEY (group_id, name)
) WITHOUT ROWID;
CREATE TABLE large_bodies (id INTEGER PRIMARY KEY, text BLOB NOT NULL, metrics BLOB NOT NULL);
CREATE TABLE hash_pages (
    group_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    first BLOB NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (group_id, name, first)
) WITHOUT ROWID;
CREATE INDEX families_by_header ON families (header);
CREATE INDEX families_suspect ON families (header) WHERE suspect;
PRAGMA application_id = 0x50474D53;
PRAGMA user_version = 1;
