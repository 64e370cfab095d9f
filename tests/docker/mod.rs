//! Functions in real containers. Needs Docker (20.10 or newer), and to make its images once: busybox-static,
//! debootstrap, golang-go, python3 with pip, root.

use crate::services::{docker as fixtures, images};

mod builds;
mod default_format;
mod hostile;
mod http_stream;
mod network;
mod pulls;
mod reaper;
mod registry;
mod sick;
mod two_users;
