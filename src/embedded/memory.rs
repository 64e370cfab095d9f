//! Returns freed memory to the system. glibc keeps freed memory in an arena for each thread, up to eight for each core: a
//! worker that used 10 MiB at a time held 90.

/// Larger allocations do not come from an arena, and go back to the system as soon as they are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAP_BYTES_MAX: libc::c_int = 256 * 1024;

/// Limits the arenas. To be called at the start of a program, before it has threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_back() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let arenas = libc::c_int::try_from(cores.max(2)).unwrap_or(libc::c_int::MAX);
    // SAFETY: mallopt only sets two numbers of the allocator, and ignores values that it does not accept.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, arenas);
        libc::mallopt(libc::M_MMAP_THRESHOLD, HEAP_BYTES_MAX);
    }
}

/// Other allocators need no limit.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}
