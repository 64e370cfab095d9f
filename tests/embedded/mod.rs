//! The engine end to end in one process (store and queues in memory, a worker, the HTTP API on a real socket), and the
//! process executor on real processes.

use crate::support::bench;

mod api;
mod batch_results;
mod batch_submit;
mod executor;
mod hostile;
mod hot;
mod results;
mod users;
mod world;
