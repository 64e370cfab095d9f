//! A hostile store: for every kind of object and message, bytes that were changed, read by every reader of them. No panic
//! gets out, nothing loops, no allocation goes far past the object's size, and a worker goes on with the rest of its queue.
//!
//! Even seeds change bytes by chance. Odd seeds take the changes that chance seldom makes, one after the other: the extremes
//! first. `AFN_HOSTILE_SEEDS` plays more seeds, `AFN_HOSTILE_FROM` begins with another one.

mod by_hand;
mod exports;
mod extremes;
mod fields;
mod honest;
mod memory;
mod mutate;
mod readers;
mod systematic;
mod watch;
mod world;

use afn::layout::Key;
use afn::seam::rng::{RngExt as _, SeededRng};

use honest::Honest;
use systematic::{Case, Change};
use watch::held;
use world::World;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

fn on_virtual_time<T>(run: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().expect("a runtime").block_on(run)
}

#[test]
fn no_object_and_no_message_harms_a_reader_or_a_worker() {
    watch::start();
    let honest = on_virtual_time(Honest::make());
    honest.has_every_kind();
    let mut extremes = extremes::all(&honest);
    let sizes = extremes.len();
    extremes.extend(systematic::keys(&honest));
    let values = systematic::values(&honest);
    eprintln!(
        "{} objects and messages, {} extremes, {} values",
        honest.count(),
        extremes.len(),
        values.len()
    );
    let (from, seeds) = (number("AFN_HOSTILE_FROM", 0), number("AFN_HOSTILE_SEEDS", 1_000));
    for seed in from..from + seeds {
        let place = (seed / 2) as usize;
        let turn = seed / 2;
        match (seed % 2, place.checked_sub(extremes.len())) {
            (0, _) => play(&honest, seed, by_chance(&honest, seed), turn / honest.count() as u64),
            // In turns: what multiplies the messages of a batch multiplies its largest objects in memory.
            (_, None) if place < sizes => play(&honest, seed, extremes[place].clone(), turn),
            (_, None) => play(&honest, seed, extremes[place].clone(), readers::ALL),
            // In big steps, so that a thousand seeds meet all kinds.
            (_, Some(place)) => play(&honest, seed, values[place * 7_919 % values.len()].clone(), turn),
        }
    }
}

/// One object or message after the other, so that a thousand seeds meet each about as often.
fn by_chance(honest: &Honest, seed: u64) -> Case {
    let rng = SeededRng::new(seed);
    let index = (seed / 2) as usize % honest.count();
    match honest.objects.get(index) {
        Some(object) => {
            let mut object = object.clone();
            let other = &honest.objects[rng.below(honest.objects.len() as u64) as usize];
            mutate::object(&rng, &mut object, other);
            Case::object("changed bytes", object)
        }
        None => {
            let (lane, body) = &honest.messages[index - honest.objects.len()];
            let body = mutate::message(&rng, body);
            Case { what: format!("the message {body}"), change: Change::Message(*lane, body) }
        }
    }
}

/// Readers, then a worker, then those who delete. `turn`: which of those that take turns.
fn play(honest: &Honest, seed: u64, case: Case, turn: u64) {
    let Case { what, change } = case;
    on_virtual_time(async {
        let what = format!("seed {seed}: {what}");
        let mut messages = Vec::new();
        let batches = |text: &str| honest.batches_of(text, turn);
        let (world, size) = match change {
            Change::Object(object) => {
                let world =
                    World::of(honest, std::slice::from_ref(&object), batches(&object.key.to_string())).await;
                let size = object.body.len();
                for (name, reader) in readers::all(&world, turn) {
                    held(seed, &format!("{what}: {name}"), size, reader).await;
                }
                // The other app's call is another store's, if this is another one.
                if matches!(object.key, Key::Store) {
                    held(seed, &format!("{what}: a worker"), size, world.work(&[])).await;
                    return;
                }
                (world, size)
            }
            Change::Message(lane, body) => {
                let size = body.len();
                let world = World::of(honest, &[], batches(&body)).await;
                messages.push((lane, body));
                (world, size)
            }
            Change::Data(key, body) => {
                let world = World::of(honest, &[], vec![honest.batches[3]]).await;
                let size = body.as_ref().map_or(0, bytes::Bytes::len);
                world.change_data(key, body).await;
                (world, size)
            }
        };
        let done = held(seed, &format!("{what}: a worker"), size, world.work(&messages)).await;
        assert!(done, "{what}: the worker left its other call undone");
        if readers::is_in(turn, 3, 1) {
            for (name, deleter) in readers::deleters(&world) {
                held(seed, &format!("{what}: {name}"), size, deleter).await;
            }
        }
    });
}
