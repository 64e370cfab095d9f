//! Counts what this process has allocated.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static LIVE: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn grown(bytes: usize) {
    let live = LIVE.fetch_add(bytes as u64, Relaxed) + bytes as u64;
    PEAK.fetch_max(live, Relaxed);
}

// SAFETY: every request is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller's own.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as u64, Relaxed);
        // SAFETY: the caller's own.
        unsafe { System.dealloc(pointer, layout) }
    }
}

pub struct Mark(u64);

impl Mark {
    pub fn now() -> Mark {
        let live = LIVE.load(Relaxed);
        PEAK.store(live, Relaxed);
        Mark(live)
    }

    /// The most that was allocated at once since, beyond what was there.
    pub fn peak(&self) -> u64 {
        PEAK.load(Relaxed).saturating_sub(self.0)
    }
}
