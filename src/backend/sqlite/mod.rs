//! Store and queues in one SQLite file, shared by any number of processes of one machine. One file, because what the
//! queue forgets must not survive what the store forgets: a power cut takes both back to one moment. Knows the deps
//! and nothing of the engine.

mod blob;
mod failure;
mod open;
mod queue;
mod reader;
mod schema;
mod store;

mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::watched::Watched;
use crate::error::Error;
use crate::seam::{Clock, Queue, Store};

/// An open file. Clones share it; the last one to go waits for what was asked and closes it.
#[derive(Clone)]
pub struct Sqlite {
    file: Arc<File>,
}

struct File {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    readers: reader::Readers,
    writer: writer::Writer,
    /// What is notified when a queue may have something visible, by the queue's name.
    changed: Mutex<BTreeMap<String, Arc<Notify>>>,
    watched: Watched,
}

impl Sqlite {
    /// Opens a file, or makes one that only its owner can read. Blocks for as long as that takes: milliseconds, or
    /// seconds while another process holds it.
    pub fn open(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Sqlite, Error> {
        let path = path.as_ref().to_owned();
        let writing = open::writing(&path)?;
        let file = File {
            readers: reader::Readers::new(path.clone()),
            writer: writer::Writer::start(writing),
            changed: Mutex::default(),
            watched: Watched::default(),
            path,
            clock,
        };
        Ok(Sqlite { file: Arc::new(file) })
    }

    pub fn path(&self) -> &Path {
        &self.file.path
    }

    pub fn store(&self) -> Arc<dyn Store> {
        Arc::new(store::SqliteStore { file: self.file.clone() })
    }

    /// A queue is there as soon as it is named.
    pub fn queue(&self, name: &str) -> Arc<dyn Queue> {
        Arc::new(queue::SqliteQueue::new(self.file.clone(), name))
    }
}
