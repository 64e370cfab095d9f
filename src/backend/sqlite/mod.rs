//! Store and queues in one SQLite file.
