-- One row: the revision counter, what was compacted, and how large the log is. It outlives the log: the counter never starts anew.
CREATE TABLE meta (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  revision INTEGER NOT NULL,
  compacted INTEGER NOT NULL,
  log_bytes INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES (1, 0, 0, 0);

-- What is true now. `body` is the object's JSON, its resourceVersion included.
CREATE TABLE objects (
  kind TEXT NOT NULL,
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  revision INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (kind, namespace, name)
) STRICT;

-- How it came about: one row a revision, without gaps above meta.compacted.
CREATE TABLE changes (
  revision INTEGER PRIMARY KEY,
  type TEXT NOT NULL CHECK (type IN ('ADDED', 'MODIFIED', 'DELETED')),
  kind TEXT NOT NULL,
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  at INTEGER NOT NULL, -- ms since 1970
  bytes INTEGER NOT NULL,
  body TEXT NOT NULL,
  previous TEXT
) STRICT;

-- What one object alone may hold. The primary key is what keeps two racing allocations apart.
CREATE TABLE claims (
  claim TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  namespace TEXT NOT NULL,
  name TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX claims_by_owner ON claims (kind, namespace, name);

-- The runs that wrote this history, each from the revision it found at its start.
CREATE TABLE epochs (
  number INTEGER PRIMARY KEY,
  epoch TEXT NOT NULL UNIQUE,
  first_revision INTEGER NOT NULL,
  started_at INTEGER NOT NULL
) STRICT;

-- Private state of other parts of the server (trust); not objects, and no part of the history.
CREATE TABLE records (
  bucket TEXT NOT NULL,
  id TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (bucket, id)
) STRICT, WITHOUT ROWID;
