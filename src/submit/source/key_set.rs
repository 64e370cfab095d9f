//! The keys of a source so far, as hashes of 64 bits: in memory, and past [`limits::KEYS_IN_MEMORY_MAX`] in a file.
//!
//! The file is a table with open addressing, ordered by hash: it grows by one pass over it. Of a billion keys about one in forty
//! sources has two different ones with the same hash; the second is then taken for a duplicate.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use sha2::{Digest as _, Sha256};

use crate::limits;

pub(super) struct KeySet {
    memory: BTreeSet<u64>,
    memory_max: usize,
    disk: Option<DiskSet>,
}

impl KeySet {
    pub fn new() -> KeySet {
        KeySet::with_memory(limits::KEYS_IN_MEMORY_MAX)
    }

    fn with_memory(memory_max: usize) -> KeySet {
        KeySet { memory: BTreeSet::new(), memory_max, disk: None }
    }

    /// Whether the key is new.
    pub fn insert(&mut self, key: &str) -> io::Result<bool> {
        // Keys come from strangers, who must not find two with one hash. Zero is an empty slot.
        let digest = Sha256::digest(key.as_bytes());
        let hash = digest.first_chunk().map_or(1, |bytes| u64::from_le_bytes(*bytes)).max(1);
        self.insert_hash(hash)
    }

    fn insert_hash(&mut self, hash: u64) -> io::Result<bool> {
        if self.disk.is_none() && self.memory.len() >= self.memory_max {
            let mut disk = DiskSet::for_count(self.memory.len() as u64)?;
            for hash in std::mem::take(&mut self.memory) {
                disk.insert(hash)?;
            }
            self.disk = Some(disk);
        }
        match &mut self.disk {
            Some(disk) => disk.insert(hash),
            None => Ok(self.memory.insert(hash)),
        }
    }
}

const SLOT_BYTES: u64 = 8;
/// Slots that are read at once. Half of the slots are empty, so one read nearly always suffices.
const BLOCK_SLOTS: u64 = 32;
/// The same while the table grows.
const PASS_SLOTS: u64 = 8 * 1024;

/// A file without a name, gone with this process.
struct DiskSet {
    slots: File,
    /// The file has 2^bits slots; the first bits of a hash say where it belongs.
    bits: u32,
    count: u64,
}

impl DiskSet {
    fn for_count(count: u64) -> io::Result<DiskSet> {
        DiskSet::of_bits((4 * count).max(2).ilog2() + 1)
    }

    fn of_bits(bits: u32) -> io::Result<DiskSet> {
        let slots = tempfile::tempfile()?;
        slots.set_len(SLOT_BYTES << bits)?;
        Ok(DiskSet { slots, bits, count: 0 })
    }

    fn insert(&mut self, hash: u64) -> io::Result<bool> {
        if 2 * (self.count + 1) > 1 << self.bits {
            self.grow()?;
        }
        match self.free_slot(hash)? {
            None => Ok(false),
            Some(slot) => {
                self.slots.write_all_at(&hash.to_le_bytes(), slot * SLOT_BYTES)?;
                self.count += 1;
                Ok(true)
            }
        }
    }

    /// The slot that a new hash takes; `None` where it is there.
    fn free_slot(&self, hash: u64) -> io::Result<Option<u64>> {
        let mut first = hash >> (u64::BITS - self.bits);
        loop {
            let (mut found, mut last) = (None, first);
            self.read(first, BLOCK_SLOTS, |slot, there| {
                last = slot;
                found = found.or((there == hash || there == 0).then_some((slot, there)));
            })?;
            match found {
                Some((slot, 0)) => return Ok(Some(slot)),
                Some(_) => return Ok(None),
                // Behind the last slot comes the first.
                None => first = (last + 1) & ((1 << self.bits) - 1),
            }
        }
    }

    /// Gives slots from `first` on, up to the end of the table or of `count`.
    fn read(&self, first: u64, count: u64, mut each: impl FnMut(u64, u64)) -> io::Result<()> {
        let count = count.min((1 << self.bits) - first);
        let mut block = vec![0; (count * SLOT_BYTES) as usize];
        self.slots.read_exact_at(&mut block, first * SLOT_BYTES)?;
        let (slots, _) = block.as_chunks::<{ SLOT_BYTES as usize }>();
        for (slot, bytes) in (first..).zip(slots) {
            each(slot, u64::from_le_bytes(*bytes));
        }
        Ok(())
    }

    fn grow(&mut self) -> io::Result<()> {
        let mut larger = DiskSet::of_bits(self.bits + 1)?;
        for first in (0..1 << self.bits).step_by(PASS_SLOTS as usize) {
            let mut hashes = Vec::new();
            self.read(first, PASS_SLOTS, |_, hash| hashes.extend((hash != 0).then_some(hash)))?;
            for hash in hashes {
                larger.insert(hash)?;
            }
        }
        *self = larger;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_new_once() {
        let mut keys = KeySet::with_memory(100);
        for key in 0..3_000 {
            assert!(keys.insert(&format!("key-{key}")).unwrap(), "{key}");
            assert!(!keys.insert(&format!("key-{}", key / 2)).unwrap(), "{key}");
        }
        let disk = keys.disk.expect("more than memory holds");
        assert_eq!((disk.count, disk.bits, keys.memory.len()), (3_000, 13, 0));
        assert_eq!(disk.slots.metadata().unwrap().len(), 8 << 13);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Hashes that want the same slots, the last ones too, behind which the table begins again.
        #[test]
        fn a_crowded_table_is_a_set(
            hashes in proptest::collection::vec(prop_oneof![1_u64..60, u64::MAX - 60..=u64::MAX, any::<u64>()], 1..200),
        ) {
            let (mut keys, mut model) = (KeySet::with_memory(4), BTreeSet::new());
            for hash in hashes.into_iter().map(|hash| hash.max(1)) {
                prop_assert_eq!(keys.insert_hash(hash).unwrap(), model.insert(hash));
            }
        }
    }
}
