//! Named contexts: which store and queues, and how to reach and make them.
