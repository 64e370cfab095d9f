//! The engine end to end in one process: store and queues in memory, a worker, the HTTP API on a real socket.

mod api;
mod results;
mod world;
