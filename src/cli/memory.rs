//! The allocator of glibc keeps what is freed in an arena for each thread, up to eight for each core, and what is large
//! too once some was freed: a worker that uses 10 MiB at a time came to hold 90.

/// Up to which size memory is taken from a heap; what is larger goes back to the system as soon as it is freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAP_BYTES_MAX: libc::c_int = 256 * 1024;

/// Has the allocator give back what it is given. For the start of a program, before it has threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_back() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let arenas = libc::c_int::try_from(cores.max(2)).unwrap_or(libc::c_int::MAX);
    // SAFETY: it only sets two numbers of the allocator. What it does not take, it leaves as it was.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, arenas);
        libc::mallopt(libc::M_MMAP_THRESHOLD, HEAP_BYTES_MAX);
    }
}

/// Other allocators do of themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}
