//! What is left on the to-delete list: by an earlier run, by a store of bodies that was away, by a front end
//! that is gone. It is handed to the deleting threads at the start and, where records are shared with other
//! front ends, again every hour.
//!
//! The list also has the bodies that are being written now (see [`keys::reserved_at`]). In a process that
//! has its records for itself all of those that it finds at its start are an earlier run's. Where records
//! are shared they may be another front end's, so only those older than [`RESERVATION_AGE_MS_MAX`] count as
//! abandoned. Whose upload takes longer is told 503 at its end; its body is never lost under a record.

use crate::codec::clock::{Clock, Millis};
use crate::metrics::Deletes;
use crate::model::keys;
use crate::model::object::Piece;
use crate::ops::service::unreserve;
use crate::storage::sweep::DeleteQueue;
use crate::storage::{BlobStore, MetaStore, StorageError, Visit};
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A shared reservation is abandoned when it is older than a day, in milliseconds, by the clock of who
/// looks: no body takes so long, and no two clocks are so far apart.
pub const RESERVATION_AGE_MS_MAX: u64 = 86_400_000;

/// How often a shared list is gone through.
const PAUSE: Duration = Duration::from_secs(3_600);

/// Entries that are read at once.
const PAGE_ENTRIES_MAX: usize = 1_000;

/// One deleting thread for each store, and which location has which.
#[derive(Default)]
pub struct Queues {
    queues: Vec<(Arc<dyn BlobStore>, DeleteQueue)>,
    by_location: HashMap<String, usize>,
}

impl Queues {
    /// Adds the store of a location.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn add(
        &mut self,
        name: &str,
        blobs: &Arc<dyn BlobStore>,
        meta: &Arc<dyn MetaStore>,
    ) -> Result<(), StorageError> {
        let index = match self.queues.iter().position(|(known, _)| Arc::ptr_eq(known, blobs)) {
            Some(index) => index,
            None => {
                self.queues.push((blobs.clone(), DeleteQueue::start(blobs.clone(), meta.clone())?));
                self.queues.len() - 1
            }
        };
        self.by_location.insert(name.to_owned(), index);
        Ok(())
    }

    /// What waits and what was given up, of all stores.
    pub fn figures(&self) -> Deletes {
        self.queues.iter().fold(Deletes::default(), |sum, (_, queue)| Deletes {
            waiting: sum.waiting + queue.waiting(),
            failed: sum.failed + queue.failed(),
        })
    }

    fn of(&self, location: &str) -> Option<&DeleteQueue> {
        self.by_location.get(location).map(|index| &self.queues[*index].1)
    }

    /// Takes a body that is on the to-delete list.
    pub fn push(&self, piece: Piece) {
        if let Some(queue) = self.of(&piece.location) {
            let record_key = keys::garbage(&piece.location, &piece.id);
            queue.push(piece.id, record_key);
        }
    }
}

/// Goes through the to-delete list. Dropping it ends it.
pub struct Leftovers {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Leftovers {
    /// Goes through the list now and, when it is shared, every hour in a thread.
    ///
    /// # Errors
    /// A sentence that says what failed.
    pub fn start(meta: Arc<dyn MetaStore>, queues: Arc<Queues>, shared: bool) -> Result<Leftovers, String> {
        if !shared {
            return match feed(meta.as_ref(), &queues, Millis::MAX) {
                // Nothing is removed by records that cannot be trusted or changed. What they still have is served.
                Ok(())
                | Err(StorageError::Corrupt(_) | StorageError::ReadOnly(_) | StorageError::Full(_)) => {
                    Ok(Leftovers { stop: None, thread: None })
                }
                Err(error) => Err(format!("cannot read the to-delete list: {error}")),
            };
        }
        let (stop, stopped) = bounded::<()>(0);
        let run = move || loop {
            let abandoned = Clock::system().now().saturating_sub(RESERVATION_AGE_MS_MAX);
            // What could not be read or changed is there the next time.
            let _ = feed(meta.as_ref(), &queues, abandoned);
            if stopped.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        };
        let thread = std::thread::Builder::new().name("leftovers".into()).spawn(run);
        let thread = thread.map_err(|error| format!("cannot start the thread of left-overs: {error}"))?;
        Ok(Leftovers { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Hands what is on the to-delete list to the deleting threads, a page at a time, with what was reserved
/// before a time. Bodies of a location that is not configured any more stay on the list.
///
/// # Errors
/// What the store says.
pub fn feed(meta: &dyn MetaStore, queues: &Queues, abandoned_before: Millis) -> Result<(), StorageError> {
    let range = keys::all_garbage();
    let mut start = range.start.clone();
    loop {
        let mut page: Vec<(Vec<u8>, Option<Millis>)> = Vec::new();
        meta.scan(&start..&range.end, &mut |key, value| {
            page.push((key.to_vec(), keys::reserved_at(value)));
            if page.len() < PAGE_ENTRIES_MAX { Visit::Next } else { Visit::Stop }
        })?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        start = [last.as_slice(), b"\0"].concat();
        for (key, reserved_at) in page {
            let Some((location, id)) = keys::split_garbage(&key) else { continue };
            let Some(queue) = queues.of(&location) else { continue };
            let may_go = match reserved_at {
                None => true,
                Some(at) => at < abandoned_before && unreserve(meta, key.clone())?,
            };
            if may_go {
                queue.push(id, key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::{Budget, MemoryBlobs, MemoryMeta};
    use crate::storage::{Batch, BlobHint, BlobId};

    #[test]
    fn only_abandoned_reservations_are_taken() {
        let budget = Budget::new(u64::MAX);
        let blobs: Arc<dyn BlobStore> = Arc::new(MemoryBlobs::new(budget.clone()));
        let meta: Arc<dyn MetaStore> = Arc::new(MemoryMeta::new(budget));
        let hint = BlobHint { bucket: "b", key: "k", owner: "o", length: None, sync: None };
        let write = || blobs.write(&mut b"body".as_slice(), &hint).unwrap().id;
        let [ordinary, old, young] = [(); 3].map(|()| write());
        let entry = |id: &BlobId| keys::garbage("", id);
        let mut batch = Batch::new();
        batch.put(entry(&ordinary), Vec::new());
        batch.put(entry(&old), keys::reservation(999));
        batch.put(entry(&young), keys::reservation(1_000));
        meta.commit(batch).unwrap();
        let mut queues = Queues::default();
        queues.add("", &blobs, &meta).unwrap();
        feed(meta.as_ref(), &queues, 1_000).unwrap();
        drop(queues);
        let is_there = |id| blobs.read(id, 0..0).unwrap().is_some();
        assert_eq!([&ordinary, &old, &young].map(is_there), [false, false, true]);
        assert_eq!(meta.get(&entry(&old)).unwrap(), None);
        assert_eq!(meta.get(&entry(&young)).unwrap(), Some(keys::reservation(1_000)));
    }
}
