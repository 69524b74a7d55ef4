//! Both stores in this process's memory: for tests, demonstrations and throw-away servers.
//!
//! Memory is bounded by one [`Budget`] that both stores may share. What is counted is what arrived,
//! never what a client announced.
//!
//! [`fork`] copies both stores at one moment without copying what they hold: maps and bodies are shared
//! until one side writes. That is what snapshots of a test fixture are made of.

use super::buffers::{BufferPool, fill};
use super::ids::IdSource;
use super::{
    Batch, BlobHint, BlobId, BlobStore, Expect, Health, MetaStore, Outcome, Result, StorageError, Usage,
    Visit, WriteError, WrittenBlob, check_batch,
};
use crate::codec::read_buffered;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, Read};
use std::ops::{Bound, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Bodies are kept in pieces of this size (the last one is as long as what it holds).
const CHUNK_BYTES: usize = 256 * 1024;
/// Bodies are spread over this many maps, so that writers seldom wait for each other.
const SHARDS: usize = 16;
/// What a record or a body costs beside its bytes: map nodes, allocation headers.
const ENTRY_OVERHEAD_BYTES: u64 = 128;

/// How many bytes memory stores may hold together.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Arc<Budget> {
        Arc::new(Budget { limit, used: AtomicU64::new(0) })
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// Takes `bytes` or fails without taking any.
    fn take(&self, bytes: u64) -> Result<()> {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        match self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits) {
            Ok(_) => Ok(()),
            Err(_) => {
                Err(StorageError::Full(format!("the memory budget of {} bytes is used up", self.limit)))
            }
        }
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
    }

    fn health(&self) -> Health {
        if self.used() < self.limit {
            Health { code: 200, message: "OK".into() }
        } else {
            Health { code: 507, message: "the memory budget is used up".into() }
        }
    }
}

/// A stored body. Gives its bytes back to the budget when the last reader is done with it.
struct Blob {
    chunks: Vec<Box<[u8]>>,
    size: u64,
    taken: u64,
    budget: Arc<Budget>,
}

impl Blob {
    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.budget.take(bytes.len() as u64)?;
        self.taken += bytes.len() as u64;
        self.size += bytes.len() as u64;
        self.chunks.push(bytes.into());
        Ok(())
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        self.budget.give_back(self.taken);
    }
}

/// The map is shared with forks until either side changes it.
type Shard = RwLock<Arc<HashMap<BlobId, Arc<Blob>>>>;

/// Bodies in memory.
pub struct MemoryBlobs {
    shards: [Shard; SHARDS],
    ids: IdSource,
    buffers: BufferPool,
    budget: Arc<Budget>,
}

impl MemoryBlobs {
    /// An empty store within a budget.
    pub fn new(budget: Arc<Budget>) -> MemoryBlobs {
        MemoryBlobs {
            shards: Default::default(),
            ids: IdSource::new(),
            buffers: BufferPool::new(CHUNK_BYTES),
            budget,
        }
    }

    fn shard(&self, id: &BlobId) -> &Shard {
        let digit = id.0.chars().next().and_then(|first| first.to_digit(16)).unwrap_or(0);
        &self.shards[digit as usize % SHARDS]
    }
}

impl BlobStore for MemoryBlobs {
    fn write(&self, body: &mut dyn Read, _: &BlobHint<'_>) -> std::result::Result<WrittenBlob, WriteError> {
        self.budget.take(ENTRY_OVERHEAD_BYTES)?;
        let budget = Arc::clone(&self.budget);
        let mut blob = Blob { chunks: Vec::new(), size: 0, taken: ENTRY_OVERHEAD_BYTES, budget };
        let mut buffer = self.buffers.take();
        loop {
            let filled = fill(body, &mut buffer).map_err(WriteError::Body)?;
            if filled > 0 {
                blob.add(&buffer[..filled])?;
            }
            if filled < buffer.len() {
                break;
            }
        }
        let (id, size) = (self.ids.next(), blob.size);
        Arc::make_mut(&mut *write_lock(self.shard(&id))).insert(id.clone(), Arc::new(blob));
        Ok(WrittenBlob { id, size })
    }

    fn read(&self, id: &BlobId, range: Range<u64>) -> Result<Option<Box<dyn BufRead + Send>>> {
        let Some(blob) = read_lock(self.shard(id)).get(id).map(Arc::clone) else {
            return Ok(None);
        };
        if range.start > range.end || range.end > blob.size {
            let text = format!("{range:?} is outside the {} bytes of {}", blob.size, id.0);
            return Err(StorageError::Corrupt(text));
        }
        Ok(Some(Box::new(BlobReader { blob, next: range.start, end: range.end })))
    }

    fn delete(&self, id: &BlobId) -> Result<()> {
        // Named, so that the body is freed after the lock.
        let mut shard = write_lock(self.shard(id));
        let _removed = if shard.contains_key(id) { Arc::make_mut(&mut *shard).remove(id) } else { None };
        drop(shard);
        Ok(())
    }

    fn list(&self, visit: &mut dyn FnMut(BlobId)) -> Result<()> {
        for shard in &self.shards {
            let ids: Vec<BlobId> = read_lock(shard).keys().cloned().collect();
            ids.into_iter().for_each(&mut *visit);
        }
        Ok(())
    }

    fn check_room(&self) -> Result<()> {
        self.budget.take(1).map(|()| self.budget.give_back(1))
    }

    fn health(&self) -> Health {
        self.budget.health()
    }

    /// What the budget has given out, to records as well where they share it.
    fn usage(&self) -> Usage {
        Usage { used_bytes: Some(self.budget.used()), ..Usage::default() }
    }
}

struct BlobReader {
    blob: Arc<Blob>,
    next: u64,
    end: u64,
}

impl Read for BlobReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, out)
    }
}

impl BufRead for BlobReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.next == self.end {
            return Ok(&[]);
        }
        let chunk = &self.blob.chunks[(self.next / CHUNK_BYTES as u64) as usize];
        let bytes = &chunk[(self.next % CHUNK_BYTES as u64) as usize..];
        let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
        Ok(&bytes[..bytes.len().min(left)])
    }

    fn consume(&mut self, count: usize) {
        self.next += count as u64;
    }
}

type Records = BTreeMap<Vec<u8>, Box<[u8]>>;

/// Records in memory.
///
/// One lock guards the map. A scan holds it for reading until its visitor stops, which is how it sees
/// one state; visitors decide and copy, they do no I/O.
pub struct MemoryMeta {
    /// Shared with forks until either side changes it.
    records: RwLock<Arc<Records>>,
    budget: Arc<Budget>,
}

impl MemoryMeta {
    /// An empty store within a budget.
    pub fn new(budget: Arc<Budget>) -> MemoryMeta {
        MemoryMeta { records: RwLock::default(), budget }
    }
}

fn holds(records: &Records, expect: &Expect) -> bool {
    match expect {
        Expect::Record { key, value } => records.get(key).map(|found| &**found) == value.as_deref(),
        Expect::Empty { start, end } => {
            start >= end || records.range(start.clone()..end.clone()).next().is_none()
        }
    }
}

fn cost(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64 + ENTRY_OVERHEAD_BYTES
}

impl MetaStore for MemoryMeta {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(read_lock(&self.records).get(key).map(|value| value.to_vec()))
    }

    fn scan(&self, range: Range<&[u8]>, visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Result<()> {
        let records = read_lock(&self.records);
        let mut start = range.start.to_vec();
        while start.as_slice() < range.end {
            let mut seek = None;
            for (key, value) in
                records.range::<[u8], _>((Bound::Included(&*start), Bound::Excluded(range.end)))
            {
                match visit(key, value) {
                    Visit::Next => {}
                    Visit::Stop => return Ok(()),
                    Visit::Seek(target) => {
                        seek = Some(super::seek_target(key, target));
                        break;
                    }
                }
            }
            match seek {
                Some(target) => start = target,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn commit(&self, batch: Batch) -> Result<Outcome> {
        check_batch(&batch)?;
        let mut records = write_lock(&self.records);
        if !batch.expects.iter().all(|expect| holds(&records, expect)) {
            return Ok(Outcome::Conflict);
        }
        let new = batch.writes.iter().filter_map(|(key, value)| Some(cost(key, value.as_deref()?))).sum();
        // Removals must work when the budget is used up, so what they free is given back at the end.
        self.budget.take(new)?;
        let records = Arc::make_mut(&mut *records);
        let mut freed = 0;
        for (key, value) in batch.writes {
            let length = key.len();
            let replaced = match value {
                Some(value) => records.insert(key, value.into_boxed_slice()),
                None => records.remove(&key),
            };
            freed += replaced.map_or(0, |old| (length + old.len()) as u64 + ENTRY_OVERHEAD_BYTES);
        }
        self.budget.give_back(freed);
        Ok(Outcome::Committed)
    }

    fn check_room(&self) -> Result<()> {
        self.budget.take(1).map(|()| self.budget.give_back(1))
    }

    fn health(&self) -> Health {
        self.budget.health()
    }
}

/// Copies both stores as they are at one moment, within the same budget. Bodies and maps are shared, so
/// this takes microseconds; the first write to either side afterwards copies the map that it changes.
///
/// # Errors
/// [`StorageError::Full`] when the records do not fit the budget a second time.
pub fn fork(meta: &MemoryMeta, blobs: &MemoryBlobs) -> Result<(MemoryMeta, MemoryBlobs)> {
    // While records cannot change, every body that one of them names is there: it was written before its
    // record, and is deleted after it.
    let records = read_lock(&meta.records);
    meta.budget.take(records.iter().map(|(key, value)| cost(key, value)).sum())?;
    let forked = MemoryBlobs::new(Arc::clone(&blobs.budget));
    for (from, to) in blobs.shards.iter().zip(&forked.shards) {
        *write_lock(to) = Arc::clone(&read_lock(from));
    }
    let records = RwLock::new(Arc::clone(&records));
    Ok((MemoryMeta { records, budget: Arc::clone(&meta.budget) }, forked))
}

impl Drop for MemoryMeta {
    fn drop(&mut self) {
        let used = read_lock(&self.records).iter().map(|(key, value)| cost(key, value)).sum();
        self.budget.give_back(used);
    }
}

// A panic cannot leave these maps half changed in a way that matters: every insertion and removal is
// complete on its own, and a batch is applied without calling anything that panics.
fn read_lock<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write_lock<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINT: BlobHint<'_> = BlobHint { bucket: "b", key: "k", owner: "o", length: None, sync: None };

    fn put(meta: &MemoryMeta, key: &[u8], value: &[u8]) {
        let mut batch = Batch::new();
        batch.put(key.to_vec(), value.to_vec());
        assert_eq!(meta.commit(batch).unwrap(), Outcome::Committed);
    }

    #[test]
    fn neither_side_of_a_fork_sees_what_the_other_writes() {
        let budget = Budget::new(u64::MAX);
        let (meta, blobs) = (MemoryMeta::new(budget.clone()), MemoryBlobs::new(budget.clone()));
        put(&meta, b"shared", b"1");
        let body = blobs.write(&mut &b"body"[..], &HINT).unwrap().id;
        let (other_meta, other_blobs) = fork(&meta, &blobs).unwrap();
        put(&meta, b"shared", b"2");
        put(&other_meta, b"new", b"3");
        blobs.delete(&body).unwrap();
        assert_eq!(other_meta.get(b"shared").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(meta.get(b"new").unwrap(), None);
        assert!(blobs.read(&body, 0..4).unwrap().is_none());
        let mut read = String::new();
        other_blobs.read(&body, 0..4).unwrap().unwrap().read_to_string(&mut read).unwrap();
        assert_eq!(read, "body");
        drop((meta, blobs, other_meta, other_blobs));
        assert_eq!(budget.used(), 0, "what a fork took is given back");
    }
}
