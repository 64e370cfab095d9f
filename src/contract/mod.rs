//! How a function is spoken to once its sandbox runs: `http-stream` and `default`. Knows no Docker and no store.
