"""The tables of events.db. Nothing in them is worth migrating: with the file gone, ingest publishes again."""

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS log (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        topic TEXT NOT NULL, part INTEGER NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, at REAL NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS ix_log ON log (topic, part, position)",
    """CREATE TABLE IF NOT EXISTS claims (
        grp TEXT, topic TEXT, part INTEGER, committed INTEGER NOT NULL, owner TEXT,
        PRIMARY KEY (grp, topic, part)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS members (
        grp TEXT, topic TEXT, member TEXT, seen REAL NOT NULL,
        PRIMARY KEY (grp, topic, member)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS dead (
        grp TEXT, topic TEXT, position INTEGER, body TEXT NOT NULL, reason TEXT NOT NULL,
        PRIMARY KEY (grp, topic, position)) WITHOUT ROWID""",
)
