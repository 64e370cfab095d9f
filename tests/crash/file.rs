//! Several processes hammer one file through store and queues, and one after another is killed within milliseconds: a
//! small engine of its own, so that most kills meet a write.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use afn::backend::sqlite::Sqlite;
use afn::layout::Key;
use afn::model::Digest;
use afn::seam::clock::SystemClock;
use afn::seam::queue::Outgoing;
use afn::seam::store::{ByteRange, List, PutObject};
use afn::seam::{Queue, RngExt as _, Store, StoreError, StoreExt as _};

use super::child::{Part, Spawned, name_of};
use super::sound::check_file;
use super::{figures, kills};

const TEST: &str = "what_was_acknowledged_outlives_every_kill";
/// Processes at a time; a child's number modulo this is its role.
const PROCESSES: u64 = 6;
const LIFE_MS_MAX: u64 = 40;
/// Kills between two looks at the file.
const LOOK_EVERY: u64 = 50;
const VISIBILITY: Duration = Duration::from_millis(300);

struct Place {
    store: Arc<dyn Store>,
    queue: Arc<dyn Queue>,
}

impl Place {
    fn open(path: &Path) -> Place {
        let file = Sqlite::open(path, Arc::new(SystemClock)).expect("open");
        Place { store: file.store(), queue: file.queue("work") }
    }

    /// Facts, each followed by a message that points to it.
    async fn produce(&self, part: &Part) {
        for n in 0.. {
            let name = format!("{}-{n}", part.number);
            self.store.put(&fact(&name), PutObject::create(content(&name))).await.expect("put a fact");
            let sent = self.queue.send(vec![Outgoing::new(name.clone())]).await.expect("send");
            assert_eq!(sent, [Ok(())]);
            part.say(format_args!("sent {name}"));
        }
    }

    /// Works off what there is: an outcome is created, the fact deleted, and last of all the message. How many came.
    async fn consume(&self, wait: Duration, won: impl Fn(&str)) -> usize {
        let received = self.queue.receive(4, wait, VISIBILITY).await.expect("receive");
        for message in &received {
            let name = &message.body;
            match self.store.find(&fact(name), u64::MAX).await.expect("get a fact") {
                Some(object) => assert!(object.body == content(name), "{name} is torn"),
                // Deleted by somebody who was killed before the message was, or whose lease lapsed.
                None => {
                    assert!(self.store.exists(&done(name)).await.expect("head"), "{name} was never there")
                }
            }
            match self.store.put(&done(name), PutObject::create(outcome(name))).await {
                Ok(_) => won(name),
                Err(StoreError::Exists) => {}
                Err(error) => panic!("{name}: {error}"),
            }
            self.store.delete(&[fact(name)]).await.expect("delete a fact");
            self.queue.delete(std::slice::from_ref(&message.receipt)).await.expect("delete a message");
        }
        received.len()
    }

    /// Counts on, by compare-and-swap, in an object of changing size.
    async fn count(&self, part: &Part) {
        loop {
            let stands =
                self.store.get(&the_count(), ByteRange::Whole(u64::MAX)).await.expect("get the count");
            let next = counted(&stands.body) + 1;
            match self.store.put(&the_count(), PutObject::replace(count(next), stands.info.etag)).await {
                Ok(_) => part.say(format_args!("counted {next}")),
                Err(StoreError::Changed) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn the_count() -> Key {
    Key::text("count")
}

fn fact(name: &str) -> Key {
    Key::text(format!("facts/{name}"))
}

fn done(name: &str) -> Key {
    Key::text(format!("done/{name}"))
}

/// Mostly small; some lie in several pieces.
fn content(name: &str) -> Vec<u8> {
    let sum: usize = name.bytes().map(usize::from).sum();
    let length = match sum % 32 {
        0 => 1_200_000,
        1..=4 => 20_000,
        _ => 100 + sum % 50,
    };
    name.bytes().cycle().take(length).collect()
}

fn outcome(name: &str) -> Vec<u8> {
    Digest::of(&content(name)).as_str().as_bytes().to_vec()
}

fn count(n: u64) -> Vec<u8> {
    let mut body = n.to_le_bytes().to_vec();
    body.resize(8 + (n % 5) as usize * 50_000, n as u8);
    body
}

fn counted(body: &[u8]) -> u64 {
    let n = u64::from_le_bytes(body[..8].try_into().expect("eight bytes"));
    assert!(body == count(n), "the count is torn at {n}");
    n
}

/// What was acknowledged, by everybody and up to their kills.
#[derive(Default)]
struct Heard {
    sent: BTreeSet<String>,
    won: BTreeSet<String>,
    counted: BTreeSet<u64>,
}

impl Heard {
    fn all_of(&mut self, child: &mut Spawned) {
        while let Some(line) = child.hear() {
            let (what, which) = line.split_once(' ').expect("what and which");
            let first = match what {
                "sent" => self.sent.insert(which.to_owned()),
                "won" => self.won.insert(which.to_owned()),
                _ => self.counted.insert(which.parse().expect("a number")),
            };
            assert!(first, "two processes were told that they alone {line}");
        }
    }

    /// What holds at any moment, whoever else is at work.
    async fn check(&self, path: &Path, place: &Place) {
        check_file(path);
        let done = names(place, "done/").await;
        let lost: Vec<&String> = self.won.iter().filter(|name| !done.contains(*name)).collect();
        assert!(lost.is_empty(), "outcomes acknowledged and lost: {lost:?}");
        let count = counted(
            &place.store.get(&the_count(), ByteRange::Whole(u64::MAX)).await.expect("get the count").body,
        );
        assert!(self.counted.last().is_none_or(|last| count >= *last), "the count went back to {count}");
    }
}

async fn names(place: &Place, prefix: &str) -> BTreeSet<String> {
    let listed = place.store.list_all(List::all(prefix)).await.expect("list");
    listed.entries.iter().map(|entry| entry.key[prefix.len()..].to_owned()).collect()
}

async fn play(part: Part) {
    let place = Place::open(&part.path);
    match part.number % PROCESSES {
        0 => place.produce(&part).await,
        1..=3 => loop {
            place.consume(Duration::from_secs(1), |name| part.say(format_args!("won {name}"))).await;
        },
        _ => place.count(&part).await,
    }
}

#[tokio::test]
async fn what_was_acknowledged_outlives_every_kill() {
    if let Some(part) = Part::of_this_process() {
        return play(part).await;
    }
    let dice = figures::dice("AFN_CRASH_SEED");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("afn.db");
    let place = Place::open(&path);
    place.store.put(&the_count(), PutObject::create(count(0))).await.expect("put the count");
    let mut number = PROCESSES;
    let mut spawn = |role: u64| {
        number += PROCESSES;
        Spawned::new(&name_of(module_path!(), TEST), &path, number + role)
    };
    let mut heard = Heard::default();
    let mut children: Vec<Spawned> = (0..PROCESSES).map(&mut spawn).collect();
    let (wanted, mut killed, mut checks) = (kills(), 0, 0);
    while killed < wanted {
        std::thread::sleep(Duration::from_micros(dice.below(1_000 * LIFE_MS_MAX)));
        // Now and then all of them at once: whoever comes next finds the file as nobody left it.
        let all = dice.below(LOOK_EVERY) == 0;
        let one = dice.below(PROCESSES);
        let victims = if all { 0..PROCESSES } else { one..one + 1 };
        for role in victims.clone() {
            children[role as usize].kill();
            heard.all_of(&mut children[role as usize]);
            killed += 1;
        }
        if all || killed % LOOK_EVERY == 0 {
            heard.check(&path, &place).await;
            checks += 1;
        }
        for role in victims {
            children[role as usize] = spawn(role);
        }
    }
    for child in &mut children {
        child.kill();
        heard.all_of(child);
        killed += 1;
    }
    drop(place);

    let place = Place::open(&path);
    heard.check(&path, &place).await;
    let mut last = BTreeSet::new();
    while !place.queue.depth().await.expect("a depth").is_dry() {
        let won = std::sync::Mutex::new(Vec::new());
        place.consume(VISIBILITY, |name| won.lock().expect("no panic").push(name.to_owned())).await;
        last.extend(won.into_inner().expect("no panic"));
    }
    let twice: Vec<&String> = heard.won.intersection(&last).collect();
    assert!(twice.is_empty(), "outcomes that were created twice: {twice:?}");
    let (done, facts) = (names(&place, "done/").await, names(&place, "facts/").await);
    let lost: Vec<&String> = heard.sent.iter().filter(|name| !done.contains(*name)).collect();
    assert!(lost.is_empty(), "sent and lost: {lost:?}");
    for name in &done {
        let body = place
            .store
            .get(&self::done(name), ByteRange::Whole(u64::MAX))
            .await
            .expect("get an outcome")
            .body;
        assert!(body == outcome(name), "the outcome of {name} is wrong");
    }
    // A producer that was killed between its fact and its message leaves the fact.
    assert!(facts.len() as u64 <= killed && facts.is_disjoint(&heard.sent), "{} facts left", facts.len());
    let count = counted(
        &place.store.get(&the_count(), ByteRange::Whole(u64::MAX)).await.expect("get the count").body,
    );
    let unheard = count - heard.counted.len() as u64;
    assert!(unheard <= killed, "{unheard} of {count} steps were not acknowledged");
    check_file(&path);
    figures::tell(&format!(
        "{killed} kills of processes on one file, {checks} looks at it meanwhile: {} messages, {} outcomes ({} by the \
         last), {count} counted; 0 lost, 0 doubled, 0 torn",
        heard.sent.len(),
        done.len(),
        last.len(),
    ));
    assert!(
        done.len() as u64 > wanted / 4 && count > wanted / 4,
        "hardly anything was done between the kills"
    );
}
