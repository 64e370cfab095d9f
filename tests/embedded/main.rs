//! What needs nothing but this machine: no Docker, no network, no toolchain. The engine end to end in one process (store
//! and queues in memory, a worker, the HTTP API on a real socket), and the process executor on real processes.

mod api;
mod batch_results;
mod batch_submit;
mod bench;
mod executor;
mod hot;
mod results;
mod world;
