//! Reads what the store holds of calls; writes nothing.
