//! Functions in real containers. Needs Docker (20.10 or newer), and to make its images once: busybox-static,
//! debootstrap, golang-go, python3 with pip, root. What is missing fails, by name.

mod builds;
mod default_format;
mod fixtures;
mod http_stream;
mod images;
mod pulls;
mod reaper;
mod registry;
mod sick;
