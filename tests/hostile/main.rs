//! A hostile store: for every kind of object and message, bytes that were changed, read by every reader of them. No panic
//! gets out, nothing loops, no allocation goes far past the object's size, and a worker goes on with the rest of its queue.
//! `AFN_HOSTILE_SEEDS` plays more seeds, `AFN_HOSTILE_FROM` begins with another one.

mod memory;
mod mutate;
mod readers;
mod world;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use afn::limits::MIB;
use afn::seam::rng::{RngExt as _, SeededRng};
use futures_util::FutureExt as _;

use world::{Honest, World};

/// Beyond the size of the object.
const BYTES_MAX: u64 = 64 * MIB;
const CPU_MAX: Duration = Duration::from_secs(5);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn on_virtual_time<T>(run: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().expect("a runtime").block_on(run)
}

/// Runs one reader and holds it against the limits. What it returns does not matter.
async fn held<T>(seed: u64, what: &str, size: usize, reader: impl Future<Output = T>) -> T {
    let (cpu_before, memory) = (cpu(), memory::Mark::now());
    let ended = AssertUnwindSafe(reader).catch_unwind().await;
    let (took, grew) = (cpu().saturating_sub(cpu_before), memory.peak());
    let again = format!("AFN_HOSTILE_FROM={seed} AFN_HOSTILE_SEEDS=1 cargo test --test hostile");
    let most = BYTES_MAX + size as u64;
    assert!(took < CPU_MAX, "{what} took {took:?} of CPU time; again: {again}");
    assert!(grew < most, "{what} allocated {grew} bytes for an object of {size}; again: {again}");
    ended.unwrap_or_else(|_| panic!("{what} panicked; again: {again}"))
}

#[test]
fn no_object_and_no_message_harms_a_reader_or_a_worker() {
    let honest = on_virtual_time(Honest::make());
    honest.has_every_kind();
    let (from, seeds) = (number("AFN_HOSTILE_FROM", 0), number("AFN_HOSTILE_SEEDS", 1_000));
    let kinds = honest.objects.len() as u64 + honest.messages.len() as u64;
    for seed in from..from + seeds {
        let rng = SeededRng::new(seed);
        // One after the other, so that a thousand seeds meet each kind about as often.
        let index = (seed % kinds) as usize;
        on_virtual_time(async {
            match honest.objects.get(index) {
                Some(object) => {
                    let mut object = object.clone();
                    let others = &honest.objects[rng.below(honest.objects.len() as u64) as usize];
                    mutate::object(&rng, &mut object, others);
                    let what = format!("seed {seed}: a reader of `{}`", object.key);
                    let size = object.body.len();
                    let world = World::of(&honest, Some(&object)).await;
                    for (name, reader) in readers::all(&world) {
                        held(seed, &format!("{what}, {name},"), size, reader).await;
                    }
                    let is_global = matches!(object.key, afn::layout::Key::Store);
                    let done = held(seed, &format!("{what}, a worker,"), size, world.work(&[])).await;
                    assert!(done || is_global, "{what}: the worker left its other call undone");
                }
                None => {
                    let (lane, body) = &honest.messages[index - honest.objects.len()];
                    let body = mutate::message(&rng, body);
                    let what = format!("seed {seed}: the message {body}");
                    let world = World::of(&honest, None).await;
                    let done = held(seed, &what, body.len(), world.work(&[(*lane, body.clone())])).await;
                    assert!(done, "{what}: the worker left its other call undone");
                }
            }
        });
    }
}
