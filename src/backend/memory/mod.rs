//! Store and queues in memory, for tests and simulation.
