//! One SQLite file, several processes, some of them killed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use afn::backend::sqlite::Sqlite;
use afn::layout::Key;
use afn::seam::clock::SystemClock;
use afn::seam::queue::Outgoing;
use afn::seam::rng::{RngExt as _, SeededRng};
use afn::seam::store::{ByteRange, List, PutObject};
use afn::seam::{Clock as _, Queue, Store, StoreError, StoreExt as _};

use super::child::{Part, Spawned, name_of};
use super::sound::check_file;

const LONG: Duration = Duration::from_secs(60);

fn open(path: &Path) -> Sqlite {
    Sqlite::open(path, Arc::new(SystemClock)).expect("open")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime").block_on(future)
}

#[test]
fn creates_race_across_processes_for_one_winner() {
    let test = name_of(module_path!(), "creates_race_across_processes_for_one_winner");
    const KEYS: u64 = 100;
    if let Some(part) = Part::of_this_process() {
        // Making the file and its tables is the first race.
        let store = open(&part.path).store();
        for n in 0..KEYS {
            let body = format!("{n} by {}", part.number).into_bytes();
            match block_on(store.put(&Key::text(format!("race/{n}")), PutObject::create(body))) {
                Ok(_) => part.say(n),
                Err(error) => assert_eq!(error, StoreError::Exists),
            }
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/afn.db");
    let children: Vec<Spawned> = (0..4).map(|number| Spawned::new(&test, &path, number)).collect();
    let mut winners = BTreeMap::new();
    for (number, child) in children.into_iter().enumerate() {
        for n in child.hear_out() {
            assert_eq!(winners.insert(n.clone(), number), None, "race/{n} has two winners");
        }
    }
    assert_eq!(winners.len() as u64, KEYS);
    let store = open(&path).store();
    for (n, number) in winners {
        let body =
            block_on(store.get(&Key::text(format!("race/{n}")), ByteRange::Whole(u64::MAX))).unwrap().body;
        assert_eq!(body, format!("{n} by {number}"));
    }
}

#[test]
fn processes_never_share_a_message() {
    let test = name_of(module_path!(), "processes_never_share_a_message");
    const MESSAGES: usize = 300;
    if let Some(part) = Part::of_this_process() {
        let queue = open(&part.path).queue("calls");
        block_on(async {
            loop {
                let messages = queue.receive(3, Duration::from_secs(1), LONG).await.unwrap();
                if messages.is_empty() {
                    return;
                }
                for message in messages {
                    assert_eq!(message.delivery, 1);
                    part.say(message.body);
                }
            }
        });
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("afn.db");
    let queue = open(&path).queue("calls");
    let children: Vec<Spawned> = (0..3).map(|number| Spawned::new(&test, &path, number)).collect();
    block_on(async {
        for batch in 0..MESSAGES / 10 {
            let messages = (0..10).map(|n| Outgoing::new((batch * 10 + n).to_string())).collect();
            assert_eq!(queue.send(messages).await, Ok(vec![Ok(()); 10]));
        }
    });
    let execution_log: Vec<String> = children.into_iter().flat_map(Spawned::hear_out).collect();
    let distinct: BTreeSet<&String> = execution_log.iter().collect();
    assert_eq!((execution_log.len(), distinct.len()), (MESSAGES, MESSAGES));
    assert_eq!(block_on(queue.depth()).unwrap().in_flight, MESSAGES as u64);
}

#[test]
fn a_send_wakes_a_receive_in_another_process() {
    let test = name_of(module_path!(), "a_send_wakes_a_receive_in_another_process");
    const ROUNDS: usize = 9;
    if let Some(part) = Part::of_this_process() {
        let queue = open(&part.path).queue("calls");
        block_on(async {
            for _ in 0..ROUNDS {
                part.say("waiting");
                let messages = queue.receive(1, Duration::from_secs(20), LONG).await.unwrap();
                part.say(&messages[0].body);
            }
        });
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("afn.db");
    let queue = open(&path).queue("calls");
    let mut child = Spawned::new(&test, &path, 0);
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        assert_eq!(child.hear().as_deref(), Some("waiting"));
        // Long enough for its looks to have become rare.
        std::thread::sleep(Duration::from_millis(200));
        block_on(queue.send(vec![Outgoing::new(round.to_string())])).unwrap();
        let sent = SystemClock.monotonic();
        assert_eq!(child.hear(), Some(round.to_string()));
        took.push(SystemClock.monotonic() - sent);
    }
    took.sort();
    // A receive that is not woken lasts 20 s.
    assert!(took[ROUNDS / 2] < Duration::from_secs(10), "woke after {took:?}");
}

/// What object `n` holds: of one piece or several, or nothing.
fn content(n: u64) -> Vec<u8> {
    let length = match n % 8 {
        0 => 0,
        1 => 2_500_000 + n as usize,
        2 => 300_000,
        _ => 100 + n as usize,
    };
    (0..length).map(|at| (at as u64 * 31 + n) as u8).collect()
}

/// Writes until it is killed, and says what was acknowledged.
async fn write_on(part: &Part) {
    let sqlite = open(&part.path);
    let (store, queue) = (sqlite.store(), sqlite.queue("calls"));
    for n in part.number.. {
        store.put(&Key::text(format!("facts/{n:08}")), PutObject::create(content(n))).await.unwrap();
        part.say(format_args!("fact {n}"));
        let stands = store.get(&Key::text("definition"), ByteRange::Whole(u64::MAX)).await.unwrap();
        let definition = content(n).into_iter().chain(n.to_le_bytes()).collect::<Vec<u8>>();
        store.put(&Key::text("definition"), PutObject::replace(definition, stands.info.etag)).await.unwrap();
        part.say(format_args!("definition {n}"));
        queue.send(vec![Outgoing::new(n.to_string())]).await.unwrap()[0].clone().unwrap();
        part.say(format_args!("message {n}"));
        if n % 3 == 0 {
            store.delete(&[Key::text(format!("facts/{n:08}"))]).await.unwrap();
            part.say(format_args!("deleted {n}"));
        }
    }
}

/// All that was acknowledged up to some kill.
#[derive(Default)]
struct Acknowledged {
    facts: BTreeSet<u64>,
    deleted: BTreeSet<u64>,
    messages: BTreeSet<u64>,
    definition: u64,
}

impl Acknowledged {
    fn hear(&mut self, line: &str) {
        let (what, n) = line.split_once(' ').expect("what and which");
        let n = n.parse().expect("a number");
        match what {
            "fact" => drop(self.facts.insert(n)),
            "deleted" => drop(self.deleted.insert(n)),
            "message" => drop(self.messages.insert(n)),
            _ => self.definition = n,
        }
    }

    async fn check(&self, path: &Path, store: &Arc<dyn Store>, queue: &Arc<dyn Queue>) {
        check_file(path);

        let mut there = BTreeSet::new();
        for entry in store.list_all(List::all("facts/")).await.unwrap().entries {
            let n: u64 = entry.key["facts/".len()..].parse().unwrap();
            let body = store.get(&entry.to_key(), ByteRange::Whole(u64::MAX)).await.unwrap().body;
            assert!(body == content(n), "{} is torn", entry.key);
            there.insert(n);
        }
        let lost: Vec<&u64> = self.facts.iter().filter(|n| !there.contains(n) && *n % 3 != 0).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let back: Vec<&u64> = self.deleted.intersection(&there).collect();
        assert!(back.is_empty(), "deleted and there: {back:?}");

        let body = store.get(&Key::text("definition"), ByteRange::Whole(u64::MAX)).await.unwrap().body;
        let (content_there, number) = body.split_at(body.len() - 8);
        let number = u64::from_le_bytes(number.try_into().unwrap());
        assert!(number >= self.definition, "definition {} became {number} again", self.definition);
        assert!(content_there == content(number), "the definition is torn");

        let mut messages = BTreeSet::new();
        loop {
            let received = queue.receive(10, Duration::ZERO, LONG).await.unwrap();
            if received.is_empty() {
                break;
            }
            let bodies = received.iter().map(|message| message.body.parse::<u64>().unwrap());
            messages.extend(bodies);
            for message in &received {
                queue.extend(&message.receipt, LONG).await.unwrap();
            }
        }
        let lost: Vec<&u64> = self.messages.difference(&messages).collect();
        assert!(lost.is_empty(), "sent and lost: {lost:?}");
    }
}

#[test]
fn a_killed_process_tears_nothing_and_loses_nothing() {
    let test = name_of(module_path!(), "a_killed_process_tears_nothing_and_loses_nothing");
    const KILLS: u64 = 24;
    if let Some(part) = Part::of_this_process() {
        block_on(write_on(&part));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("afn.db");
    let rng = SeededRng::new(7);
    block_on(async {
        let first: Vec<u8> = content(0).into_iter().chain(0u64.to_le_bytes()).collect();
        open(&path).store().put(&Key::text("definition"), PutObject::create(first)).await.unwrap();
    });
    let mut acknowledged = Acknowledged::default();
    for kill in 1..=KILLS {
        let mut child = Spawned::new(&test, &path, kill * 1_000 + kill % 8);
        for _ in 0..=rng.below(16) {
            acknowledged.hear(&child.hear().expect("the child works"));
        }
        // Half of them at once: right after an answer is when a hasty one would show.
        if kill % 2 == 0 {
            std::thread::sleep(Duration::from_micros(rng.below(25_000)));
        }
        child.kill();
        while let Some(line) = child.hear() {
            acknowledged.hear(&line);
        }
        // Every so often the next child finds the file as the kill left it.
        if kill % 3 == 0 {
            // A queue of its own each time: what an earlier look received is hidden.
            let sqlite = open(&path);
            give_back(&path);
            block_on(acknowledged.check(&path, &sqlite.store(), &sqlite.queue("calls")));
        }
    }
    let Acknowledged { facts, deleted, messages, .. } = acknowledged;
    let written = [facts.len(), deleted.len(), messages.len()];
    assert!(
        written[0] > 2 * KILLS as usize && written[1] > 5 && written[2] > KILLS as usize,
        "facts, deletes and messages: {written:?}"
    );
}

/// Makes visible what an earlier check received.
fn give_back(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute("UPDATE messages SET visible_at = 0", []).unwrap();
}
