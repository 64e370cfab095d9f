//! The HTTP API.

use std::time::Duration;

use super::{KIB, MIB, minutes};

/// Connections served at a time by each listener; further ones wait to be accepted.
pub const API_CONNECTIONS_MAX: usize = 256;
/// Payloads in memory, in bytes received; past it a request is refused with 503. So a client that sends slowly holds
/// nothing that others need.
pub const API_PAYLOADS_BYTES_MAX: u64 = 96 * MIB;
/// They are counted in pieces of this size; the first of each request is not counted.
pub const API_PAYLOAD_PIECE_BYTES: u64 = 64 * KIB;
/// How long a client may take to send a request's head, and its body.
pub const API_HEAD_MAX: Duration = Duration::from_secs(30);
pub const API_BODY_MAX: Duration = Duration::from_secs(60);
/// How long the caller of a sync function waits for the call to begin; once it has, for as long as it may run.
pub const API_BEGIN_MAX: Duration = minutes(2);
/// Calls in a list, unless asked for otherwise, and the most that can be asked for (Fn's numbers).
pub const API_LIST_DEFAULT: usize = 30;
pub const API_LIST_MAX: usize = 100;
/// What open requests get to end when the server stops.
pub const API_STOP_MAX: Duration = Duration::from_secs(5);
